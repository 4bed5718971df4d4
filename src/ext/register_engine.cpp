#include "engine.hpp"
#include "pybind.hpp"
#include "unlocked.hpp"

using smith::Engine;

static py::dict describe(const Engine & engine) {
    py::dict facts;
    facts["path"]        = engine.path;
    facts["openmp"]      = engine.openmp;
    facts["chooses_wait"] = engine.set_wait != nullptr;
    facts["features"]    = py::tuple(py::cast(engine.features));
    return facts;
}

void register_engine(py::module_ & m) {
    m.def(
        "load_engine",
        [](const std::string & path) {
            // The module's start-up code and its score function run here.
            return describe(*smith::unlocked([&] { return &smith::load_engine(path); }));
        },
        py::arg("path"),
        "Loads the engine at ``path`` (a libggml-cpu.so) and describes it. Raises EngineError if it cannot be loaded, "
        "or if this process runs another one.");
    m.def("engine_loaded", &smith::engine_loaded, "Whether an engine is loaded in this process.");
    m.def(
        "wait_policies",
        [] {
            py::list names;
            for (int policy = 0; policy < SMITH_WAIT_COUNT; policy++) {
                names.append(smith_wait_name(policy));
            }
            return py::tuple(names);
        },
        "Names of the wait policies that the engine 'patched' knows.");
}
