#include <cstring>

#include "handles.hpp"
#include "register_options.hpp"
#include "run.hpp"
#include "session.hpp"

using smith::Generation;
using smith::GenerationOptions;
using smith::PyModel;
using smith::PyThreadPool;
using smith::run;
using smith::SamplerChain;
using smith::Session;

using Tokens = std::vector<llama_token>;

static py::array_t<float> decode(Session & self, const Tokens & tokens, bool all_logits) {
    const Session::Turn turn(self);
    const auto          n = self.model().n_vocab();
    if (all_logits) {
        py::array_t<float> every({ static_cast<py::ssize_t>(tokens.size()), static_cast<py::ssize_t>(n) });
        float *            rows = every.mutable_data();
        run(self, [&] { self.decode(tokens, rows); });
        return every;
    }
    run(self, [&] { self.decode(tokens); });
    py::array_t<float> logits(n);
    std::memcpy(logits.mutable_data(), self.last_logits(), sizeof(float) * static_cast<std::size_t>(n));
    return logits;
}

static int64_t start(Session & self, const Tokens & tokens, int64_t max_tokens, float temperature, int32_t top_k,
                     float top_p, uint32_t seed, std::vector<std::string> stop, bool ignore_eos, bool append,
                     std::shared_ptr<SamplerChain> sampler) {
    const Session::Turn turn(self);
    GenerationOptions   options;
    options.max_tokens          = max_tokens;
    options.sampler.temperature = temperature;
    options.sampler.top_k       = top_k;
    options.sampler.top_p       = top_p;
    options.sampler.seed        = seed;
    options.stop                = std::move(stop);
    options.ignore_eos          = ignore_eos;
    options.append              = append;
    options.chain               = std::move(sampler);
    smith::end_views(self);
    self.start(tokens, options);
    return self.generation_id();
}

static void check_current(const Session & self, int64_t id) {
    if (self.generation_id() != id) {
        throw smith::Error("SessionBusy", "This stream has ended: the session has begun another generation since. "
                                          "Use a session for each stream.");
    }
}

// Up to n more tokens: the text that has become certain, and the reason to stop if there is one by now.
static py::tuple advance(Session & self, int64_t id, int64_t n) {
    const Session::Turn turn(self);
    check_current(self, id);
    run(self, [&] { self.advance(n); });
    Generation & g = self.generation();
    return py::make_tuple(to_str(g.stream.take(!g.stop_reason.empty())), g.stop_reason);
}

static py::dict state(Session & self, int64_t id) {
    const Session::Turn turn(self);
    check_current(self, id);
    const Generation & g = self.generation();
    py::dict           out;
    out["tokens"]           = py::tuple(py::cast(g.tokens));
    out["stop_reason"]      = g.stop_reason;
    out["prompt_tokens"]    = g.timings.prompt_tokens;
    out["prompt_seconds"]   = g.timings.prompt_seconds;
    out["generated_tokens"] = g.timings.generated_tokens;
    out["generate_seconds"] = g.timings.generate_seconds;
    return out;
}

void register_session(py::module_ & m) {
    py::class_<Session, smith::Context, std::shared_ptr<Session>>(
        m, "Session", "A context of one sequence, which also generates by a loop of its own.")
        .def(py::init([](const PyModel & model, const PyThreadPool * pool, const PyThreadPool * pool_batch,
                         const py::kwargs & options) { return smith::make_context<Session>(model, pool, pool_batch, options); }),
             py::arg("model"), py::kw_only(), py::arg("pool"), py::arg("pool_batch"))
        .def("decode", &decode, py::arg("tokens"), py::kw_only(), py::arg("all_logits"))
        .def("start", &start, py::arg("tokens"), py::kw_only(), py::arg("max_tokens"), py::arg("temperature"),
             py::arg("top_k"), py::arg("top_p"), py::arg("seed"), py::arg("stop"), py::arg("ignore_eos"),
             py::arg("append"), py::arg("sampler"))
        .def("advance", &advance, py::arg("id"), py::arg("n"))
        .def("state", &state, py::arg("id"))
        .def("reset",
             [](Session & self) {
                 const Session::Turn turn(self);
                 smith::end_views(self);
                 self.reset();
             })
        .def_property_readonly("n_ctx",
                               [](Session & self) {
                                   const Session::Turn turn(self);
                                   return self.n_ctx_seq();
                               })
        .def_property_readonly("n_past", [](Session & self) {
            const Session::Turn turn(self);
            return self.n_past();
        });
}
