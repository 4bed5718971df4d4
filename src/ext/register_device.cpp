#include "llama.h"
#include "register_device.hpp"
#include "unlocked.hpp"

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
    m.def("devices", [] { return describe(smith::unlocked([] { return smith::devices(); })); },
          "The devices of the loaded backends: name, description, backend, type, id, bytes of memory, buffer types.");
    m.def("limits", &limits, "What the pinned llama.cpp can count up to, and can do on this system.");
    m.def("llama_version", [] { return std::string(llama_version()); }, "Version of the pinned llama.cpp.");
    m.def("time_us", &llama_time_us, "Microseconds of llama.cpp's monotonic clock.");
}
