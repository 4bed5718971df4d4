#include "neighbours.hpp"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>

#include <string>

#include "ggml-backend.h"
#include "ggml.h"
#include "llama.h"
#include "pybind.hpp"

namespace smith {

namespace {

std::string folder(const std::string & path) {
    char              resolved[PATH_MAX];
    const char *      found = realpath(path.c_str(), resolved);
    const std::string whole = found != nullptr ? found : path;
    return whole.substr(0, whole.rfind('/'));
}

// The file that a function comes from; empty if the loader does not know.
template <typename Function> std::string home(Function function) {
    Dl_info found{};
    return dladdr(reinterpret_cast<void *>(function), &found) != 0 && found.dli_fname != nullptr ? found.dli_fname : "";
}

}  // namespace

void check_neighbours() {
    const std::string own = home(&check_neighbours);
    if (own.empty()) {
        return;
    }
    const std::string expected = folder(own) + "/lib";
    for (const std::string & file : { home(&llama_backend_init), home(&ggml_backend_load), home(&ggml_init) }) {
        if (!file.empty() && folder(file) != expected) {
            throw py::import_error(
                "llamasmith would run with another llama.cpp: " + file + " is in this process instead of the library in " +
                expected + ". Import llamasmith before the package that brings it, in a process of its own, or take it "
                "out of LD_PRELOAD and LD_LIBRARY_PATH.");
        }
    }
}

}  // namespace smith
