#include "share.h"

#include "crew.h"
#include "sleep.h"
#include "wait.h"

// The protocol is checked exhaustively, as a model, by tests/unit/test_step_protocol.py: change both.

// A prompt takes seconds, in which other pools come and go. So long a graph keeps to its number of threads; the clock is
// read after some nodes.
#ifndef SHARE_AFTER_NS // the stress test has it shared anew all the time
#define SHARE_AFTER_NS 1000000u
#define SHARE_NODES 16
#endif

// While no step is under way: the finisher of a step wakes nobody but the active.
static void set_active(struct smith_wait * wait, int n_active) {
    const int before = atomic_exchange_explicit(&wait->steps.n_active, n_active, memory_order_seq_cst);
    for (int i = before; i < n_active; i++) {
        smith_wake(wait, i);
    }
}

void smith_share(struct smith_wait * wait) {
    struct smith_steps * steps  = &wait->steps;
    const int            n_cpus = atomic_load_explicit(&wait->n_cpus, memory_order_relaxed);
    set_active(wait, smith_crew_share(wait->crew, steps->nth, n_cpus));
    steps->n_unshared   = 0;
    steps->shared_since = smith_ticks();
}

// Thread 0 alone: a worker that went on by itself would not ask whether the graph's owner wants to stop.
int smith_share_again(struct smith_wait * wait) {
    struct smith_steps * steps = &wait->steps;
    if (smith_self == &wait->slots[0] && ++steps->n_unshared >= SHARE_NODES) {
        steps->n_unshared = 0;
        if (smith_ticks() - steps->shared_since > SHARE_AFTER_NS * smith_ticks_per_us() / 1000) {
            smith_share(wait);
        }
    }
    return atomic_load_explicit(&steps->n_active, memory_order_relaxed);
}
