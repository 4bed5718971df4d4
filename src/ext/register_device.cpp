#include "device.hpp"
#include "llama.h"
#include "pybind.hpp"
#include "unlocked.hpp"

static py::list devices() {
    py::list all;
    for (const smith::Device & device : smith::unlocked([] { return smith::devices(); })) {  // asks drivers
        py::dict facts;
        facts["name"]         = to_str(device.name);
        facts["description"]  = to_str(device.description);
        facts["backend"]      = to_str(device.backend);
        facts["type"]         = device.type;
        facts["id"]           = to_str(device.id);
        facts["memory_free"]  = device.memory_free;
        facts["memory_total"] = device.memory_total;
        facts["buffer_types"] = py::tuple(py::cast(device.buffer_types));
        all.append(std::move(facts));
    }
    return all;
}

static py::dict limits() {
    py::dict out;
    out["max_devices"]            = llama_max_devices();
    out["max_parallel_sequences"] = llama_max_parallel_sequences();
    out["max_placement"]          = llama_max_tensor_buft_overrides();
    out["supports_mmap"]          = llama_supports_mmap();
    out["supports_mlock"]         = llama_supports_mlock();
    return out;
}

void register_device(py::module_ & m) {
    m.def("devices", &devices,
          "The devices of the loaded backends: name, description, backend, type, id, bytes of memory, buffer types.");
    m.def("limits", &limits, "What the pinned llama.cpp can count up to, and can do on this system.");
    m.def("llama_version", [] { return std::string(llama_version()); }, "Version of the pinned llama.cpp.");
    m.def("time_us", &llama_time_us, "Microseconds of llama.cpp's monotonic clock.");
}
