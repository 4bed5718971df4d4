// Backends besides the engine: loadable modules of ggml.
#pragma once

#include <string>
#include <vector>

#include "device.hpp"

namespace smith {

struct Backend {
    std::string         path;
    std::string         name;  // as ggml calls it: BLAS, RPC, CUDA
    std::vector<Device> devices;
};

// Loads the module at this absolute path, for the rest of the process; a second time returns what is loaded. Throws
// BackendError if it cannot be loaded, or if another file of that name is: it would become the same backend twice.
Backend load_backend(const std::string & path);

}  // namespace smith
