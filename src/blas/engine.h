// The CPU engine, which is another module: found through ggml's registry, used through ggml's interface alone.
#pragma once

#include "ggml.h"

// Runs `work(ith, nth, data)` on all threads of the pool that is attached to the caller's context, else on `n_threads`
// threads that the engine lends. False: no engine is loaded, or it refused.
bool smith_engine_run(int n_threads, ggml_custom_op_t work, void * data);

// Whether an engine is loaded that can run something, and whether it was built with a feature such as "AVX512_BF16".
bool smith_engine_found();
bool smith_engine_has(const char * feature);
