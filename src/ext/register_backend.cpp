#include "backend.hpp"
#include "register_device.hpp"
#include "unlocked.hpp"

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
}
