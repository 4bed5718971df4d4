#include "handles.hpp"

using smith::Placement;
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
    out["taken"]    = values.taken;
    out["n_active"] = values.n_active;
    return out;
}

void register_pool(py::module_ & m) {
    m.def(
        "priorities", [] { return py::tuple(py::cast(smith::priority_names())); },
        "Names of the priorities that a pool's threads may have.");
    py::class_<PyThreadPool>(m, "ThreadPool", "Compute threads that live between graphs.")
        .def(py::init([](int n_threads, const std::string & wait, int poll, const std::vector<int> & cpus, bool strict,
                         const std::string & priority, int n_cpus) {
                 const Placement placement{ cpus, strict, priority };
                 return PyThreadPool{ smith::make_unlocked<ThreadPool>(n_threads, wait, poll, placement, n_cpus) };
             }),
             py::arg("n_threads"), py::kw_only(), py::arg("wait"), py::arg("poll"), py::arg("cpus"), py::arg("strict"),
             py::arg("priority"), py::arg("n_cpus"))
        .def_property_readonly("n_threads", [](const PyThreadPool & self) { return self.get().n_threads(); })
        .def_property(
            "wait", [](const PyThreadPool & self) { return self.get().wait(); },
            [](const PyThreadPool & self, const std::string & name) { self.get().set_wait(name); })
        .def("counters", &counters)
        .def("pause",
             [](const PyThreadPool & self) {
                 self.get();  // refuses what is closed
                 const std::shared_ptr<ThreadPool> pool = self.pool;
                 smith::unlocked([&] { pool->pause(); });  // waits for who computes on it, perhaps in Python's handlers
             })
        .def("resume", [](const PyThreadPool & self) { self.get().resume(); })
        .def("close", [](PyThreadPool & self) { self.pool.reset(); })
        .def_property_readonly("closed", [](const PyThreadPool & self) { return !self.pool; });
}
