#include "handles.hpp"

using smith::PyThreadPool;
using smith::ThreadPool;

static py::object counters(const PyThreadPool & self) {
    smith_counters values;
    if (!self.get().counters(values)) {
        return py::none();
    }
    py::dict out;
    out["barriers"] = values.barriers;
    out["spins"]    = values.spins;
    out["yields"]   = values.yields;
    out["parks"]    = values.parks;
    out["wait_ns"]  = values.wait_ns;
    return out;
}

void register_pool(py::module_ & m) {
    py::class_<PyThreadPool>(m, "ThreadPool", "Compute threads that live between graphs.")
        .def(py::init([](int n_threads, const std::string & wait, int poll) {
                 return PyThreadPool{ smith::make_unlocked<ThreadPool>(n_threads, wait, poll) };
             }),
             py::arg("n_threads"), py::kw_only(), py::arg("wait"), py::arg("poll"))
        .def_property_readonly("n_threads", [](const PyThreadPool & self) { return self.get().n_threads(); })
        .def_property(
            "wait", [](const PyThreadPool & self) { return self.get().wait(); },
            [](const PyThreadPool & self, const std::string & name) { self.get().set_wait(name); })
        .def("counters", &counters)
        .def("pause", [](const PyThreadPool & self) { self.get().pause(); })
        .def("resume", [](const PyThreadPool & self) { self.get().resume(); })
        .def("close", [](PyThreadPool & self) { self.pool.reset(); })
        .def_property_readonly("closed", [](const PyThreadPool & self) { return !self.pool; });
}
