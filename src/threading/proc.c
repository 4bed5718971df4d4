#include "proc.h"

#include <string.h>

#include "attached.h"
#include "ggml-cpu.h"
#include "wait.h"

// A thread that already waits goes on by the old policy until its barrier is passed; smith_release() wakes parked
// threads under any policy, so none is left behind.
static int set_wait(struct ggml_threadpool * threadpool, int policy) {
    if (policy < 0 || policy >= SMITH_WAIT_COUNT) {
        return 0;
    }
    atomic_store_explicit(&ggml_threadpool_smith_wait(threadpool)->policy, policy, memory_order_relaxed);
    return 1;
}

static int get_wait(struct ggml_threadpool * threadpool) {
    return atomic_load_explicit(&ggml_threadpool_smith_wait(threadpool)->policy, memory_order_relaxed);
}

static void counters(struct ggml_threadpool * threadpool, struct smith_counters * out) {
    const struct smith_wait * wait  = ggml_threadpool_smith_wait(threadpool);
    uint64_t                  ticks = 0;
    memset(out, 0, sizeof(*out));
    for (int i = 0; i < wait->n_threads; i++) {
        struct smith_slot * slot = &wait->slots[i];
        out->barriers += atomic_load_explicit(&slot->barriers, memory_order_relaxed);
        out->spins    += atomic_load_explicit(&slot->spins, memory_order_relaxed);
        out->yields   += atomic_load_explicit(&slot->yields, memory_order_relaxed);
        out->parks    += atomic_load_explicit(&slot->parks, memory_order_relaxed);
        out->taken    += atomic_load_explicit(&slot->taken, memory_order_relaxed);
        ticks         += atomic_load_explicit(&slot->wait_ticks, memory_order_relaxed);
    }
    out->wait_ns  = (uint64_t) ((double) ticks * 1000.0 / (double) smith_ticks_per_us());
    out->n_active = atomic_load_explicit(&wait->steps.on, memory_order_relaxed)
                        ? atomic_load_explicit(&wait->steps.n_active, memory_order_relaxed) : 0;
}

static void set_cpus(struct ggml_threadpool * threadpool, int n_cpus) {
    atomic_store_explicit(&ggml_threadpool_smith_wait(threadpool)->n_cpus, n_cpus, memory_order_relaxed);
}

// POSIX promises that a function's address survives the way through void *; ISO C does not, hence the union.
#define AS_POINTER(type, function) (((union { type f; void * p; }) { .f = (function) }).p)

typedef void (*on_pool_t)(struct ggml_threadpool * threadpool);

void * smith_get_proc_address(const char * name) {
#ifdef GGML_USE_OPENMP
    // The threads are OpenMP's, and so is how they wait: none of this would have an effect.
    (void) name;
    return NULL;
#endif
    if (strcmp(name, SMITH_PROC_SET_WAIT) == 0) {
        return AS_POINTER(smith_threadpool_set_wait_t, set_wait);
    }
    if (strcmp(name, SMITH_PROC_GET_WAIT) == 0) {
        return AS_POINTER(smith_threadpool_get_wait_t, get_wait);
    }
    if (strcmp(name, SMITH_PROC_COUNTERS) == 0) {
        return AS_POINTER(smith_threadpool_counters_t, counters);
    }
    if (strcmp(name, SMITH_PROC_SET_CPUS) == 0) {
        return AS_POINTER(smith_threadpool_set_cpus_t, set_cpus);
    }
    if (strcmp(name, SMITH_PROC_ATTACHED) == 0) {
        return AS_POINTER(smith_attached_t, smith_attached);
    }
    if (strcmp(name, SMITH_PROC_USE_THREADPOOL) == 0) {
        return AS_POINTER(smith_use_threadpool_t, ggml_backend_cpu_set_threadpool);
    }
    if (strcmp(name, "ggml_backend_cpu_set_threadpool") == 0) {
        return AS_POINTER(smith_use_threadpool_t, smith_attach);
    }
    // upstream has these two, but leaves them out of its own table
    if (strcmp(name, "ggml_threadpool_pause") == 0) {
        return AS_POINTER(on_pool_t, ggml_threadpool_pause);
    }
    if (strcmp(name, "ggml_threadpool_resume") == 0) {
        return AS_POINTER(on_pool_t, ggml_threadpool_resume);
    }
    return NULL;
}
