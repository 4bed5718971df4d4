// The one engine of this process: a loadable ggml CPU backend, and the functions that it offers by name.
#pragma once

#include <string>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "threading/proc.h"

namespace smith {

// Functions of the engine. Under GGML_BACKEND_DL none of them is linked; those named smith_* and the two for pausing
// are nullptr in a pristine engine.
struct Engine {
    std::string        path;
    ggml_backend_reg_t reg = nullptr;
    bool               openmp = false;

    decltype(&ggml_threadpool_new)    threadpool_new    = nullptr;
    decltype(&ggml_threadpool_free)   threadpool_free   = nullptr;
    decltype(&ggml_threadpool_pause)  threadpool_pause  = nullptr;
    decltype(&ggml_threadpool_resume) threadpool_resume = nullptr;
    smith_threadpool_set_wait_t       set_wait          = nullptr;
    smith_threadpool_get_wait_t       get_wait          = nullptr;
    smith_threadpool_counters_t       counters          = nullptr;
    smith_threadpool_set_cpus_t       set_cpus          = nullptr;

    std::vector<std::string> features;  // instruction sets and build switches, as the engine tells them
};

// Loads the module at `path`. Throws EngineError if it cannot be loaded or another one already runs: two modules with
// one soname would silently become one.
const Engine & load_engine(const std::string & path);

// The loaded engine; throws EngineError if there is none.
const Engine & engine();

bool engine_loaded();

}  // namespace smith
