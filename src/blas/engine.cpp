#include "blas/engine.h"

#include <dlfcn.h>

#include <cstring>
#include <memory>

#include "ggml-backend.h"
#include "threading/proc.h"

namespace {

// The registry is in libggml, and a backend is linked with libggml-base alone: libggml is there already, since it has
// loaded this module, but perhaps for nobody else to see.
void * registry(const char * name) {
    void * found = dlsym(RTLD_DEFAULT, name);
    const char * const libraries[] = { "libggml.so", "libggml.so.0" };
    for (const char * library : libraries) {
        void * handle = found == nullptr ? dlopen(library, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
        if (handle != nullptr) {
            found = dlsym(handle, name);
            dlclose(handle); // gives back our reference; whoever has loaded it keeps it
        }
    }
    return found;
}

struct engine {
    ggml_backend_reg_t            reg               = nullptr;
    ggml_backend_set_n_threads_t  set_n_threads     = nullptr;
    void (*set_threadpool)(ggml_backend_t, struct ggml_threadpool *) = nullptr;
    smith_attached_t              attached          = nullptr; // of the patched engine only
    ggml_backend_get_features_t   get_features      = nullptr;

    bool found() const { return set_n_threads != nullptr && set_threadpool != nullptr; }
};

template <typename T> void look_up(ggml_backend_reg_t reg, const char * name, T & function) {
    function = reinterpret_cast<T>(ggml_backend_reg_get_proc_address(reg, name));
}

engine find() {
    engine     it;
    const auto by_name = reinterpret_cast<decltype(&ggml_backend_reg_by_name)>(registry("ggml_backend_reg_by_name"));
    it.reg             = by_name == nullptr ? nullptr : by_name("CPU");
    if (it.reg != nullptr) {
        look_up(it.reg, "ggml_backend_set_n_threads", it.set_n_threads);
        look_up(it.reg, "ggml_backend_get_features", it.get_features);
        look_up(it.reg, SMITH_PROC_ATTACHED, it.attached);
        // not by the plain name alone: there the patched engine hands out a function that remembers the pool
        look_up(it.reg, SMITH_PROC_USE_THREADPOOL, it.set_threadpool);
        if (it.set_threadpool == nullptr) {
            look_up(it.reg, "ggml_backend_cpu_set_threadpool", it.set_threadpool);
        }
    }
    return it;
}

// Engines may be loaded after this module, so a search without success is repeated; with success it is kept.
const engine * the_engine() {
    static thread_local engine known;
    if (!known.found()) {
        known = find();
    }
    return known.found() ? &known : nullptr;
}

struct backend_free {
    void operator()(ggml_backend_t backend) const { ggml_backend_free(backend); }
};

struct context_free {
    void operator()(ggml_context * context) const { ggml_free(context); }
};

} // namespace

bool smith_engine_found() {
    return the_engine() != nullptr;
}

bool smith_engine_has(const char * feature) {
    const engine * it = the_engine();
    if (it == nullptr || it->get_features == nullptr) {
        return false;
    }
    for (const ggml_backend_feature * one = it->get_features(it->reg); one->name != nullptr; one++) {
        if (std::strcmp(one->name, feature) == 0) {
            return std::strcmp(one->value, "0") != 0;
        }
    }
    return false;
}

bool smith_engine_run(int n_threads, ggml_custom_op_t work, void * data) {
    const engine * it = the_engine();
    if (it == nullptr) {
        return false;
    }
    // A backend of its own for each graph: it costs three small allocations, and keeps no pool that may end before it.
    const std::unique_ptr<ggml_backend, backend_free> cpu(
        ggml_backend_dev_init(ggml_backend_reg_dev_get(it->reg, 0), nullptr));
    if (!cpu) {
        return false;
    }
    int                      n_attached = 0;
    struct ggml_threadpool * pool       = it->attached == nullptr ? nullptr : it->attached(&n_attached);
    if (pool != nullptr && n_threads > n_attached) {
        pool = nullptr; // more threads than it has, by OPENBLAS_NUM_THREADS: the engine lends them
    }
    it->set_threadpool(cpu.get(), pool);
    it->set_n_threads(cpu.get(), n_threads);

    static thread_local std::unique_ptr<char[]> memory;
    const size_t size = 2 * ggml_tensor_overhead() + ggml_graph_overhead_custom(1, false);
    if (!memory) {
        memory.reset(new char[size]);
    }
    const std::unique_ptr<ggml_context, context_free> context(ggml_init({size, memory.get(), /*no_alloc =*/ true}));
    if (!context) {
        return false;
    }
    ggml_tensor * node =
        ggml_custom_4d(context.get(), GGML_TYPE_F32, 1, 1, 1, 1, nullptr, 0, work, GGML_N_TASKS_MAX, data);
    ggml_cgraph * graph = ggml_new_graph_custom(context.get(), 1, false);
    ggml_build_forward_expand(graph, node);
    return ggml_backend_graph_compute(cpu.get(), graph) == GGML_STATUS_SUCCESS;
}
