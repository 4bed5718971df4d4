#include "engine.hpp"

#include <cstring>
#include <mutex>

#include "errors.hpp"
#include "llama.h"
#include "log.hpp"

namespace smith {

namespace {

std::mutex mutex;
Engine     the_engine;

template <typename Function> void find(ggml_backend_reg_t reg, const char * name, Function & out) {
    out = reinterpret_cast<Function>(ggml_backend_reg_get_proc_address(reg, name));
}

std::vector<std::string> read_features(ggml_backend_reg_t reg) {
    std::vector<std::string>    features;
    ggml_backend_get_features_t get = nullptr;
    find(reg, "ggml_backend_get_features", get);
    if (get != nullptr) {
        for (const ggml_backend_feature * feature = get(reg); feature->name != nullptr; feature++) {
            const bool flag = std::strcmp(feature->value, "1") == 0;
            features.push_back(flag ? feature->name : std::string(feature->name) + "=" + feature->value);
        }
    }
    return features;
}

ggml_backend_reg_t load_module(const std::string & path) {
    const LogHush hush;  // the exception has the reason
    return ggml_backend_load(path.c_str());
}

}  // namespace

const Engine & load_engine(const std::string & path) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (the_engine.reg != nullptr) {
        if (the_engine.path == path) {
            return the_engine;
        }
        throw Error("EngineError", "This process already runs the engine at " + the_engine.path + "; " + path +
                                       " cannot be loaded too. One process runs one engine: use another process.");
    }
    take_complaints();
    ggml_backend_reg_t reg = load_module(path);
    if (reg == nullptr) {
        const std::string why = take_complaints();
        throw Error("EngineError", "The engine at " + path + " cannot be loaded" + (why.empty() ? "" : ": " + why) +
                                       ". It is missing, or built for another CPU. Run: llamasmith doctor");
    }
    Engine found;
    found.path = path;
    found.reg  = reg;
    find(reg, "ggml_threadpool_new", found.threadpool_new);
    find(reg, "ggml_threadpool_free", found.threadpool_free);
    find(reg, "ggml_threadpool_pause", found.threadpool_pause);
    find(reg, "ggml_threadpool_resume", found.threadpool_resume);
    find(reg, SMITH_PROC_SET_WAIT, found.set_wait);
    find(reg, SMITH_PROC_GET_WAIT, found.get_wait);
    find(reg, SMITH_PROC_COUNTERS, found.counters);
    find(reg, SMITH_PROC_SET_CPUS, found.set_cpus);
    found.features = read_features(reg);
    for (const std::string & feature : found.features) {
        found.openmp = found.openmp || feature == "OPENMP";
    }
    if (found.threadpool_new == nullptr || found.threadpool_free == nullptr) {
        throw Error("EngineError", "The library at " + path + " is not an engine: it offers no thread pool.");
    }
    the_engine = found;
    llama_backend_init();  // after the engine: with an empty registry it would search for backends on its own
    return the_engine;
}

const Engine & engine() {
    if (the_engine.reg == nullptr) {
        throw Error("EngineError", "No engine is loaded. Call llamasmith.load_engine() first.");
    }
    return the_engine;
}

bool engine_loaded() {
    return the_engine.reg != nullptr;
}

}  // namespace smith
