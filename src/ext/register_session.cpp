#include <cstring>

#include "handles.hpp"
#include "register_generation.hpp"
#include "run.hpp"
#include "session.hpp"

using smith::Context;
using smith::Draft;
using smith::MemoryOptions;
using smith::Session;

using Tokens = std::vector<llama_token>;

template <typename Work> static void run(Session & self, Work && work) {
    smith::run(self.context(), work, [&self] { self.abandon(); });
}

static std::shared_ptr<Session> make_session(std::shared_ptr<Context> context, std::shared_ptr<Draft> draft) {
    const Context::Turn turn(*context);
    return std::shared_ptr<Session>(new Session(std::move(context), std::move(draft)), smith::free_unlocked<Session>);
}

static std::shared_ptr<Session> fork_session(Session & self) {
    const Session::Turn turn(self);
    smith::end_views(self.context());
    return std::shared_ptr<Session>(smith::unlocked([&] { return self.fork(); }).release(), smith::free_unlocked<Session>);
}

static py::array_t<float> decode(Session & self, const Tokens & tokens, bool all_logits) {
    const Session::Turn turn(self);
    const auto          n = static_cast<py::ssize_t>(self.context().model().n_vocab());
    if (all_logits) {
        py::array_t<float> every({ static_cast<py::ssize_t>(tokens.size()), n });
        float *            rows = every.mutable_data();
        run(self, [&] { self.decode(tokens, rows); });
        return every;
    }
    run(self, [&] { self.decode(tokens); });
    py::array_t<float> logits(n);
    std::memcpy(logits.mutable_data(), self.context().logits(-1), sizeof(float) * static_cast<std::size_t>(n));
    return logits;
}

static py::array_t<float> score(Session & self, const Tokens & tokens, std::size_t first) {
    const Session::Turn turn(self);
    if (first + 1 >= tokens.size()) {
        throw smith::Error("InvalidOption", "There is nothing to score: " + std::to_string(tokens.size()) +
                                                " tokens were given, and those after place " + std::to_string(first) +
                                                " are scored. Give at least two.");
    }
    py::array_t<float> out(static_cast<py::ssize_t>(tokens.size() - 1 - first));
    float *            values = out.mutable_data();
    run(self, [&] { self.score(tokens, first, values); });
    return out;
}

static int64_t start(Session & self, const Tokens & tokens, const py::kwargs & given) {
    const Session::Turn turn(self);
    py::dict            rest = given.attr("copy")();
    MemoryOptions       memory;
    const auto          take = [&rest](const char * name, auto & out) { out = rest.attr("pop")(name).cast<std::decay_t<decltype(out)>>(); };
    take("append", memory.append);
    take("reuse", memory.reuse);
    take("context_shift", memory.context_shift);
    take("n_keep", memory.n_keep);
    const smith::GenerationOptions options = smith::generation_options(rest);
    smith::end_views(self.context());
    self.start(tokens, options, memory);
    return self.generation_id();
}

static void check_current(const Session & self, int64_t id) {
    if (self.generation_id() != id) {
        throw smith::Error("SessionBusy", "This stream has ended: the session has begun another generation since. "
                                          "Use a session for each stream.");
    }
}

static py::tuple advance(Session & self, int64_t id, int64_t n) {
    const Session::Turn turn(self);
    check_current(self, id);
    run(self, [&] { self.advance(n); });
    return smith::generation_news(self.generation());
}

static py::dict state(Session & self, int64_t id) {
    const Session::Turn turn(self);
    check_current(self, id);
    return smith::generation_state(self.generation());
}

static void register_drafts(py::module_ & m) {
    py::class_<Draft, std::shared_ptr<Draft>>(m, "Draft", "Guesses the next tokens, for a session to confirm.");
    py::class_<smith::NgramDraft, Draft, std::shared_ptr<smith::NgramDraft>>(m, "NgramDraft")
        .def(py::init<int64_t, int64_t, int64_t>(), py::kw_only(), py::arg("n_max"), py::arg("shortest"), py::arg("longest"));
    py::class_<smith::ModelDraft, Draft, std::shared_ptr<smith::ModelDraft>>(m, "ModelDraft")
        .def(py::init([](std::shared_ptr<Context> context, int64_t n_max, float p_min) {
                 return std::shared_ptr<smith::ModelDraft>(new smith::ModelDraft(std::move(context), n_max, p_min),
                                                           smith::free_unlocked<smith::ModelDraft>);
             }),
             py::arg("context"), py::kw_only(), py::arg("n_max"), py::arg("p_min"));
}

void register_session(py::module_ & m) {
    register_drafts(m);
    py::class_<Session, std::shared_ptr<Session>>(m, "Session", "A sequence of a context, which generates by a loop of its own.")
        .def(py::init(&make_session), py::arg("context"), py::kw_only(), py::arg("draft"))
        .def("fork", &fork_session)
        .def("decode", &decode, py::arg("tokens"), py::kw_only(), py::arg("all_logits"))
        .def("score", &score, py::arg("tokens"), py::kw_only(), py::arg("first"))
        .def("start", &start, py::arg("tokens"))
        .def("advance", &advance, py::arg("id"), py::arg("n"))
        .def("state", &state, py::arg("id"))
        .def("settle",
             [](Session & self) {
                 const Session::Turn turn(self);
                 run(self, [&] { self.settle(); });
             })
        .def("reset",
             [](Session & self) {
                 const Session::Turn turn(self);
                 smith::end_views(self.context());
                 self.reset();
             })
        .def(
            "set_tokens",
            [](Session & self, const Tokens & tokens) {
                const Session::Turn turn(self);
                self.set_tokens(tokens);
            },
            py::arg("tokens"))
        .def("cancel", &Session::cancel)
        .def("close",
             [](Session & self) {
                 if (!self.closed()) {
                     smith::unlocked([&] { self.close(); });
                 }
             })
        .def_property_readonly("closed", &Session::closed)
        .def_property_readonly("busy", &Session::busy)
        .def_property_readonly("tokens",
                               [](Session & self) {
                                   const Session::Turn turn(self);
                                   return self.tokens();
                               })
        .def_property_readonly("seq_id",
                               [](Session & self) {
                                   const Session::Turn turn(self);
                                   return self.seq_id();
                               })
        .def_property_readonly("n_ctx",
                               [](Session & self) {
                                   const Session::Turn turn(self);
                                   return self.context().n_ctx_seq();
                               })
        .def_property_readonly("n_past", [](Session & self) {
            const Session::Turn turn(self);
            return self.n_past();
        });
}
