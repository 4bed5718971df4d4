#include "batch_session.hpp"
#include "handles.hpp"
#include "register_generation.hpp"
#include "run.hpp"

using smith::BatchSession;
using smith::Context;

using Turn = Context::Turn;

void register_batch_session(py::module_ & m) {
    py::class_<BatchSession, std::shared_ptr<BatchSession>>(m, "BatchSession", "Many generations, decoded together.")
        .def(py::init([](std::shared_ptr<Context> context) {
                 const Turn turn(*context);
                 return std::shared_ptr<BatchSession>(new BatchSession(std::move(context)), smith::free_unlocked<BatchSession>);
             }),
             py::arg("context"))
        .def(
            "submit",
            [](BatchSession & self, const std::vector<llama_token> & tokens, const py::kwargs & options) {
                const Turn turn(self.context());
                return self.submit(tokens, smith::generation_options(options));
            },
            py::arg("tokens"))
        .def(
            "advance",
            [](BatchSession & self, int64_t n) {
                const Turn           turn(self.context());
                std::vector<int64_t> ended;
                smith::run(self.context(), [&] { ended = self.advance(n); });
                return ended;
            },
            py::arg("n"))
        .def(
            "news",
            [](BatchSession & self, int64_t id) {
                const Turn turn(self.context());
                return smith::generation_news(self.generation(id));
            },
            py::arg("id"))
        .def(
            "state",
            [](BatchSession & self, int64_t id) {
                const Turn turn(self.context());
                return smith::generation_state(self.generation(id));
            },
            py::arg("id"))
        .def(
            "cancel",
            [](BatchSession & self, int64_t id) {
                const Turn turn(self.context());
                self.cancel(id);
            },
            py::arg("id"))
        .def(
            "drop",
            [](BatchSession & self, int64_t id) {
                const Turn turn(self.context());
                self.drop(id);
            },
            py::arg("id"))
        .def_property_readonly("n_running",
                               [](BatchSession & self) {
                                   const Turn turn(self.context());
                                   return self.n_running();
                               })
        .def_property_readonly("n_waiting", [](BatchSession & self) {
            const Turn turn(self.context());
            return self.n_waiting();
        });
}
