// Backends besides the engine: loadable modules of ggml, and the devices that all of them together offer.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace smith {

// Memory in bytes; 0 where a device has none of its own.
struct Device {
    std::string name;
    std::string description;
    std::string type;  // cpu, gpu, igpu, accel or meta
    std::size_t memory_free  = 0;
    std::size_t memory_total = 0;
};

struct Backend {
    std::string         path;
    std::string         name;  // as ggml calls it: BLAS, RPC, CUDA
    std::vector<Device> devices;
};

// Loads the module at this absolute path, for the rest of the process; a second time returns what is loaded. Throws
// BackendError if it cannot be loaded, or if another file of that name is: it would become the same backend twice.
Backend load_backend(const std::string & path);

// The devices of all backends and of the engine.
std::vector<Device> devices();

}  // namespace smith
