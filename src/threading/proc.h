// What the engine offers beyond upstream's ggml_backend_reg_get_proc_address(): reached by name through it, because
// under GGML_BACKEND_DL no symbol of the engine is linked. C and C++ (src/ext includes this header too).
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ggml_backend;
struct ggml_threadpool;

// Values are part of the interface between the engine and _core: append, never renumber.
enum smith_wait_policy {
    SMITH_WAIT_SPIN  = 0, // the CPU's pause instruction, without end: what upstream does
    SMITH_WAIT_YIELD = 1, // sched_yield() at once: what llama.cpp did in 2023
    SMITH_WAIT_PARK  = 2, // a short spin, then sleep in the kernel until woken
    SMITH_WAIT_ADAPTIVE = 3, // graphs go on when their pieces are done; spin, yield, sleep: each for as long as it pays
    SMITH_WAIT_COUNT
};

// Sums over the threads of one pool since it was made.
struct smith_counters {
    uint64_t barriers; // barriers passed, or steps, counted once per thread
    uint64_t spins;    // pause instructions, at barriers and between graphs
    uint64_t yields;   // sched_yield() calls, at barriers and between graphs
    uint64_t parks;    // times a thread slept in the kernel, at barriers and between graphs
    uint64_t wait_ns;  // nanoseconds that threads spent waiting at barriers
    uint64_t taken;    // pieces of work done for a thread that was late; `adaptive` only
    int      n_active; // threads that may work on a graph just now; `adaptive` only, else 0
};

// Name and type of each extra function. `policy` outside the enum is refused: the function returns 0, else 1.
#define SMITH_PROC_SET_WAIT "smith_threadpool_set_wait"
#define SMITH_PROC_GET_WAIT "smith_threadpool_get_wait"
#define SMITH_PROC_COUNTERS "smith_threadpool_counters"
#define SMITH_PROC_SET_CPUS "smith_threadpool_set_cpus"
typedef int  (*smith_threadpool_set_wait_t)(struct ggml_threadpool * threadpool, int policy);
typedef int  (*smith_threadpool_get_wait_t)(struct ggml_threadpool * threadpool);
typedef void (*smith_threadpool_counters_t)(struct ggml_threadpool * threadpool, struct smith_counters * out);
// CPUs that the threads may really use, by the caller's knowledge of masks and quotas; 0: those of the calling thread.
typedef void (*smith_threadpool_set_cpus_t)(struct ggml_threadpool * threadpool, int n_cpus);

// The pool that the calling thread has attached last (attached.h), and ggml_backend_cpu_set_threadpool() that remembers
// nothing, for whoever borrows it.
#define SMITH_PROC_ATTACHED       "smith_threadpool_attached"
#define SMITH_PROC_USE_THREADPOOL "smith_threadpool_use"
typedef struct ggml_threadpool * (*smith_attached_t)(int * n_threads);
typedef void (*smith_use_threadpool_t)(struct ggml_backend * backend, struct ggml_threadpool * threadpool);

// The policies' names, as users write them; -1 for an unknown name.
const char * smith_wait_name(int policy);
int          smith_wait_from_name(const char * name);

// NULL for a name that is not ours. The patch asks here first, then upstream's table.
void * smith_get_proc_address(const char * name);

#ifdef __cplusplus
}
#endif
