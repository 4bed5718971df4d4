#include "backend.hpp"
#include "pybind.hpp"
#include "unlocked.hpp"

static py::dict describe(const smith::Device & device) {
    py::dict facts;
    facts["name"]         = to_str(device.name);
    facts["description"]  = to_str(device.description);
    facts["type"]         = device.type;
    facts["memory_free"]  = device.memory_free;
    facts["memory_total"] = device.memory_total;
    return facts;
}

static py::tuple describe(const std::vector<smith::Device> & devices) {
    py::list facts;
    for (const smith::Device & device : devices) {
        facts.append(describe(device));
    }
    return py::tuple(facts);
}

void register_backend(py::module_ & m) {
    m.def(
        "load_backend",
        [](const std::string & path) {
            // The module's start-up code runs here, and that of the libraries it needs.
            const smith::Backend found = smith::unlocked([&] { return smith::load_backend(path); });
            py::dict             facts;
            facts["path"]    = found.path;
            facts["name"]    = to_str(found.name);
            facts["devices"] = describe(found.devices);
            return facts;
        },
        py::arg("path"),
        "Loads the backend at the absolute ``path`` (a libggml-*.so) and describes it. Raises BackendError if it cannot "
        "be loaded, or if another one of that name is.");
    m.def(
        "devices", [] { return describe(smith::unlocked([] { return smith::devices(); })); },
        "The devices of the engine and of all backends that are loaded.");
}
