// How a thread of a pool waits: at a barrier, and between two graphs.
//
// This is all that a patched ggml-cpu.c sees of our threading code; the patch holds the call sites.
// Neither Python nor libllama is known here.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "border.h"
#include "clock.h"
#include "proc.h"
#include "slot.h"
#include "steps.h"

// One per thread pool, embedded in struct ggml_threadpool.
struct smith_wait {
    // On a line of its own: read at every barrier, while the fields before it in the pool are being written.
    _Alignas(SMITH_CACHE_LINE) atomic_int policy; // enum smith_wait_policy
    atomic_int          n_parked; // threads asleep in smith_park(), or about to be
    int                 n_threads;
    atomic_int          n_cpus;   // that the threads may really use; 0: those of the calling thread
    struct smith_slot * slots;    // one per thread
    struct smith_crew * crew;     // this pool among the others of the process
    struct smith_steps  steps;
};

// The pool's waiting state; defined by the patch, next to struct ggml_threadpool.
struct smith_wait * ggml_threadpool_smith_wait(struct ggml_threadpool * threadpool);

void smith_wait_init(struct smith_wait * wait, int n_threads);
void smith_wait_free(struct smith_wait * wait);

// Waits at a barrier in any way but spinning: returns once *word is no longer `old`.
void smith_wait_patiently(struct smith_wait * wait, atomic_int * word, int old);

// Wakes the threads that sleep on `word`.
void smith_unpark(struct smith_wait * wait, atomic_int * word);

// A thread starts on a graph of this pool as its `ith` thread.
static inline void smith_enter(struct smith_wait * wait, int ith) {
    smith_self = &wait->slots[ith];
}

// The last thread to arrive has changed `word`: lets the others go.
static inline void smith_release(struct smith_wait * wait, atomic_int * word) {
    smith_count(&smith_self->barriers, 1);
    // Sequentially consistent, like the parking thread's increment and this thread's change of the word: at least
    // one of the two threads sees the other, so no wake-up is lost. The line is shared and read-only unless
    // somebody parks.
    if (atomic_load_explicit(&wait->n_parked, memory_order_seq_cst) > 0) {
        smith_unpark(wait, word);
    }
}

// Waits until *word is no longer `old`. The spinning loop is the one that upstream has at this place.
static inline void smith_wait_while(struct smith_wait * wait, atomic_int * word, int old) {
    struct smith_slot * const self  = smith_self;
    const uint64_t            start = smith_ticks();
    if (atomic_load_explicit(&wait->policy, memory_order_relaxed) == SMITH_WAIT_SPIN) {
        uint64_t spins = 0;
        while (atomic_load_explicit(word, memory_order_relaxed) == old) {
            smith_relax();
            spins++;
        }
        smith_count(&self->spins, spins);
    } else {
        smith_wait_patiently(wait, word, old);
    }
    smith_count(&self->barriers, 1);
    smith_count(&self->wait_ticks, smith_ticks() - start);
}

// Threads that meet at a barrier: those of upstream's loop, or those that compute the pieces of one step.
int smith_barrier_threads(int n_threads);

// Whether the next graph is computed by steps, and makes it so; `numa`: upstream binds threads to nodes.
bool smith_begin(struct smith_wait * wait, bool numa);

// Whether the workers belong into smith_steps_serve().
static inline bool smith_by_steps(struct smith_wait * wait) {
    return atomic_load_explicit(&wait->steps.on, memory_order_seq_cst);
}

// How often a worker looks for a new graph before it sleeps on the pool's condition variable, for a polling level
// of 0 to 100; one look is one smith_idle_relax().
uint64_t smith_idle_rounds(const struct smith_wait * wait, uint32_t poll);
void     smith_idle_relax(struct smith_wait * wait, int ith);
void     smith_idle_park(struct smith_wait * wait, int ith);
