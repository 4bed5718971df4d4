#include "backend.hpp"

#include <cstdlib>
#include <map>
#include <mutex>

#include "errors.hpp"
#include "ggml-backend.h"
#include "log.hpp"

namespace smith {

namespace {

struct Loaded {
    std::string        path;
    ggml_backend_reg_t reg;
};

std::mutex                    mutex;
std::map<std::string, Loaded> loaded;  // by file name, which is the same for two backends of one kind

Backend describe(const Loaded & entry) {
    Backend found{ entry.path, ggml_backend_reg_name(entry.reg), {} };
    for (size_t i = 0; i < ggml_backend_reg_dev_count(entry.reg); i++) {
        found.devices.push_back(device_facts(ggml_backend_reg_dev_get(entry.reg, i)));
    }
    return found;
}

// OpenBLAS starts a thread for each CPU when it is loaded, whatever the budget says. Told to be content with one, it
// starts them when a session's number of threads asks for them, and no earlier. Of the user's own wish, if there is one,
// nothing is changed.
class FewThreads {
  public:
    FewThreads() : ours_(std::getenv(name) == nullptr) {
        if (ours_) {
            setenv(name, "1", 0);
        }
    }
    ~FewThreads() {
        if (ours_) {
            unsetenv(name);
        }
    }
    FewThreads(const FewThreads &)             = delete;
    FewThreads & operator=(const FewThreads &) = delete;

  private:
    static constexpr const char * name = "OPENBLAS_NUM_THREADS";
    bool                          ours_;
};

ggml_backend_reg_t load_module(const std::string & path, const std::string & file) {
    take_complaints();
    const LogHush hush;  // the exception has the reason, and a backend that nobody asked for is only warned of
    if (file.find("-blas") == std::string::npos) {
        return ggml_backend_load(path.c_str());
    }
    const FewThreads at_the_start;
    return ggml_backend_load(path.c_str());
}

}  // namespace

Backend load_backend(const std::string & path) {
    const std::lock_guard<std::mutex> lock(mutex);

    const std::string file = path.substr(path.rfind('/') + 1);
    if (path.empty() || path[0] != '/') {  // else the loader would search for it
        throw Error("BackendError", "The path of a backend must be absolute, not " + path + ".");
    }
    const auto before = loaded.find(file);
    if (before != loaded.end()) {
        if (before->second.path == path) {
            return describe(before->second);
        }
        throw Error("BackendError", "This process has loaded " + before->second.path + "; " + path +
                                        " would be the same backend twice. Use another process.");
    }
    ggml_backend_reg_t reg = load_module(path, file);
    if (reg == nullptr) {
        const std::string why = take_complaints();
        throw Error("BackendError", "The backend at " + path + " cannot be loaded: " +
                                        (why.empty() ? "it does not support this machine" : why) + ".");
    }
    return describe(loaded.emplace(file, Loaded{ path, reg }).first->second);
}

}  // namespace smith
