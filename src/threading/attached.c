#include "attached.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ggml-cpu.h"
#include "wait.h"

static _Atomic uint64_t ended; // pools that have ended

static _Thread_local struct ggml_threadpool * attached;
static _Thread_local uint64_t                 ended_before;

void smith_attach(struct ggml_backend * backend, struct ggml_threadpool * threadpool) {
    attached     = threadpool;
    ended_before = atomic_load_explicit(&ended, memory_order_acquire);
    ggml_backend_cpu_set_threadpool(backend, threadpool);
}

struct ggml_threadpool * smith_attached(int * n_threads) {
    if (attached == NULL || atomic_load_explicit(&ended, memory_order_acquire) != ended_before) {
        return NULL;
    }
    *n_threads = ggml_threadpool_smith_wait(attached)->n_threads;
    return attached;
}

void smith_attached_ends(void) {
    atomic_fetch_add_explicit(&ended, 1, memory_order_release);
}
