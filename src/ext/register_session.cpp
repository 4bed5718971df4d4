#include <cstring>
#include <optional>

#include "handles.hpp"
#include "interrupt.hpp"
#include "session.hpp"

using smith::Generation;
using smith::GenerationOptions;
using smith::PyModel;
using smith::PyThreadPool;
using smith::Session;
using smith::SessionOptions;

using Tokens = std::vector<llama_token>;

// Runs native work without the GIL. Python's signal handlers run in the midst of it, when SIGINT comes: if they raise,
// the work ends and the session forgets what this call has added; if not, it goes on as if nothing had been.
template <typename Work> static void run(Session & session, Work && work) {
    std::optional<py::error_already_set> raised;
    const smith::InterruptScope          scope;
    session.watch_interrupts(scope.installed(), [&raised] {
        const py::gil_scoped_acquire locked;
        if (!raised && PyErr_CheckSignals() != 0) {
            raised.emplace();
        }
        return raised.has_value();
    });
    try {
        smith::unlocked(work);  // which touches the session's own memory alone
        if (!raised) {
            return;
        }
    } catch (const py::error_already_set &) {  // from a handler too, while the log was delivered
        session.abandon();
        throw;
    } catch (const smith::Interrupted &) {
        session.abandon();
        if (!raised) {
            throw smith::Error("Cancelled", "The call was cancelled. The session's memory is as it was before.");
        }
    } catch (...) {
        if (!raised) {
            throw;
        }
    }
    session.abandon();
    throw std::move(*raised);
}

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
    std::memcpy(logits.mutable_data(), self.logits(), sizeof(float) * static_cast<std::size_t>(n));
    return logits;
}

static int64_t start(Session & self, const Tokens & tokens, int64_t max_tokens, float temperature, int32_t top_k,
                     float top_p, uint32_t seed, std::vector<std::string> stop, bool ignore_eos, bool append) {
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

static std::shared_ptr<Session> make(const PyModel & model, const PyThreadPool * pool, const PyThreadPool * pool_batch,
                                     int64_t n_threads, int64_t n_threads_batch, int64_t n_ctx, int64_t n_batch,
                                     int64_t n_ubatch, int64_t n_outputs_max, const std::string & flash_attn,
                                     const std::string & type_k, const std::string & type_v) {
    SessionOptions options;
    options.n_ctx           = n_ctx;
    options.n_batch         = n_batch;
    options.n_ubatch        = n_ubatch;
    options.n_outputs_max   = n_outputs_max;
    options.flash_attn      = flash_attn;
    options.type_k          = type_k;
    options.type_v          = type_v;
    options.n_threads       = n_threads;
    options.n_threads_batch = n_threads_batch;
    model.get();  // refuses what is closed
    if (pool == nullptr) {
        return smith::make_unlocked<Session>(model.model, nullptr, nullptr, options);
    }
    const PyThreadPool & batch = pool_batch == nullptr ? *pool : *pool_batch;
    pool->get(), batch.get();
    return smith::make_unlocked<Session>(model.model, pool->pool, batch.pool, options);
}

void register_session(py::module_ & m) {
    py::class_<Session, std::shared_ptr<Session>>(m, "Session", "A context of a model with its own memory of tokens.")
        .def(py::init(&make), py::arg("model"), py::kw_only(), py::arg("pool"), py::arg("pool_batch"),
             py::arg("n_threads"), py::arg("n_threads_batch"), py::arg("n_ctx"), py::arg("n_batch"), py::arg("n_ubatch"),
             py::arg("n_outputs_max"), py::arg("flash_attn"), py::arg("type_k"), py::arg("type_v"))
        .def("decode", &decode, py::arg("tokens"), py::kw_only(), py::arg("all_logits"))
        .def("start", &start, py::arg("tokens"), py::kw_only(), py::arg("max_tokens"), py::arg("temperature"),
             py::arg("top_k"), py::arg("top_p"), py::arg("seed"), py::arg("stop"), py::arg("ignore_eos"),
             py::arg("append"))
        .def("advance", &advance, py::arg("id"), py::arg("n"))
        .def("state", &state, py::arg("id"))
        .def("reset",
             [](Session & self) {
                 const Session::Turn turn(self);
                 self.reset();
             })
        .def("close",
             [](Session & self) {
                 const Session::Turn turn(self);
                 smith::unlocked([&] { self.close(); });  // joins threads, unmaps memory
             })
        .def("cancel", &Session::cancel)
        .def_property_readonly("closed", &Session::closed)
        .def_property_readonly("busy", &Session::busy)
        .def_property_readonly("n_ctx",
                               [](Session & self) {
                                   const Session::Turn turn(self);
                                   return self.n_ctx();
                               })
        .def_property_readonly("n_past", [](Session & self) {
            const Session::Turn turn(self);
            return self.n_past();
        });
}
