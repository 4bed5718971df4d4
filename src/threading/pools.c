#include "pools.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ggml-cpu.h"
#include "ggml.h"
#include "wait.h"

#ifdef GGML_USE_OPENMP

struct ggml_threadpool * smith_pools_take(int n_threads) {
    (void) n_threads; // the threads are OpenMP's, which keeps them itself
    return NULL;
}

void smith_pools_give(struct ggml_threadpool * threadpool) {
    (void) threadpool;
}

#else

// More graphs than these at once, or of more kinds, end their threads as upstream does.
#define MAX_IDLE 16

// What a pool was made for. Threads inherit the CPUs of the thread that makes them.
struct kind {
    int   n_threads;
    pid_t process; // in a child by fork(), the threads of the parent's pools do not exist
#if defined(__linux__)
    cpu_set_t cpus;
#endif
};

struct idle {
    struct kind              kind;
    struct ggml_threadpool * pool;
};

// Owned by whoever has exchanged it out. No lock: one that is held while another thread forks would stay so in the child.
static struct idle * _Atomic idle[MAX_IDLE];

static struct kind kind_of(int n_threads) {
    struct kind kind;
    memset(&kind, 0, sizeof(kind)); // compared as bytes
    kind.n_threads = n_threads;
    kind.process   = getpid();
#if defined(__linux__)
    sched_getaffinity(0, sizeof(kind.cpus), &kind.cpus);
#endif
    return kind;
}

static void end(struct idle * one) {
    if (one != NULL && one->kind.process == getpid()) {
        ggml_threadpool_free(one->pool);
    }
    free(one);
}

static void leave(struct idle * one) {
    for (int i = 0; i < MAX_IDLE && one != NULL; i++) {
        struct idle * none = NULL;
        if (atomic_compare_exchange_strong(&idle[i], &none, one)) {
            return;
        }
    }
    end(one);
}

struct ggml_threadpool * smith_pools_take(int n_threads) {
    const struct kind wanted = kind_of(n_threads);
    for (int i = 0; i < MAX_IDLE; i++) {
        struct idle * one = atomic_exchange(&idle[i], NULL);
        if (one == NULL) {
            continue;
        }
        if (memcmp(&one->kind, &wanted, sizeof(wanted)) == 0) {
            struct ggml_threadpool * pool = one->pool;
            free(one);
            return pool;
        }
        if (one->kind.process != wanted.process) {
            end(one);
        } else {
            leave(one);
        }
    }
    struct ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    return ggml_threadpool_new(&params);
}

// Given back by the thread that has taken it, right after its graph: its CPUs are the same.
void smith_pools_give(struct ggml_threadpool * threadpool) {
    if (threadpool == NULL) {
        return;
    }
    struct idle * one = malloc(sizeof(*one));
    if (one == NULL) {
        ggml_threadpool_free(threadpool);
        return;
    }
    one->kind = kind_of(ggml_threadpool_smith_wait(threadpool)->n_threads);
    one->pool = threadpool;
    leave(one);
}

// When the engine is unloaded, or the process ends: threads must not outlive the code that they run.
__attribute__((destructor)) static void end_all(void) {
    for (int i = 0; i < MAX_IDLE; i++) {
        end(atomic_exchange(&idle[i], NULL));
    }
}

#endif
