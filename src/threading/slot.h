// What the pool keeps for each of its threads.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

enum smith_sleep {
    SMITH_AWAKE  = 0,
    SMITH_NAPS   = 1, // until the next step; counted in smith_steps.n_asleep
    SMITH_SLEEPS = 2, // until the pool has use for it
};

// Counted by the owning thread alone with relaxed loads and stores (no read-modify-write), so that counting costs
// no bus traffic and other threads may still read at any time.
struct smith_slot {
    _Alignas(SMITH_CACHE_LINE) atomic_uint_fast64_t barriers; // barriers, or steps, that it has waited for or ended
    atomic_uint_fast64_t spins;
    atomic_uint_fast64_t yields;
    atomic_uint_fast64_t parks;
    atomic_uint_fast64_t wait_ticks;
    atomic_uint_fast64_t taken; // pieces that it has done for a thread that was late

    // The piece that the thread computes just now; of no concern to others.
    int  nth;      // of how many; 0 outside steps
    int  phase;    // enum smith_phase
    bool bordered; // the operation has come to its phase border

    // Jobs (border.h), numbered through the step: the one that this thread has taken, and the present loop's.
    int64_t job;
    int64_t first_job;
    int64_t end_job;

    // Clock ticks: since when the thread has had its CPU, as far as it knows, and when it last looked.
    uint64_t running_since;
    uint64_t seen_running;

    // On a line of its own, since any thread may claim the piece of this number, or wake this thread.
    _Alignas(SMITH_CACHE_LINE) atomic_uint_fast64_t claimed; // the last step whose piece of this number was claimed
    atomic_int  asleep; // enum smith_sleep
    atomic_bool absent; // it was late, or sleeps: others need not wait for it until it is seen again
};

// The slot of the calling thread in the pool whose graph it computes.
extern _Thread_local struct smith_slot * smith_self;

static inline void smith_count(atomic_uint_fast64_t * counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
