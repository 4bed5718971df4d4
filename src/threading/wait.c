#include "wait.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attached.h"
#include "crew.h"
#include "park.h"

// How long `park` spins before it sleeps. To sleep and to be woken costs some microseconds, and in a virtual machine, whose
// CPU is given back when it has nothing to do, tens of them: after 1 us an idle machine made 0.30 of what spinning does,
// after 5 us 0.82, after 20 us 0.97. But beside a busy neighbour those who sleep early get the CPU sooner: 56, 54, 37 tokens/s.
#define PARK_AFTER_NS 5000u

// Between graphs `park` looks so often for a new one, which is about a microsecond.
#define PARK_IDLE_ROUNDS 64u

// Upstream's unit of polling between graphs, in pauses per polling level (ggml_graph_compute_poll_for_work).
#define ROUNDS_PER_POLL_LEVEL (1024u * 128u)

// A sched_yield() with nobody else to run takes about as long as 32 pauses: the same polling level then means about
// the same time.
#define PAUSES_PER_YIELD 32u

_Thread_local struct smith_slot * smith_self;

static int policy_of(const struct smith_wait * wait) {
    return atomic_load_explicit(&wait->policy, memory_order_relaxed);
}

// The value of LLAMASMITH_WAIT is checked, with a message, where a person can see it (the Python package); here an
// unknown name means the default.
static int default_policy(void) {
    const char * name   = getenv("LLAMASMITH_WAIT");
    const int    policy = name ? smith_wait_from_name(name) : -1;
    return policy >= 0 ? policy : SMITH_WAIT_ADAPTIVE;
}

void smith_wait_init(struct smith_wait * wait, int n_threads) {
    const size_t size = sizeof(struct smith_slot) * (size_t) n_threads;
    atomic_init(&wait->policy, default_policy());
    atomic_init(&wait->n_parked, 0);
    atomic_init(&wait->n_cpus, 0);
    wait->n_threads = n_threads;
    wait->slots     = aligned_alloc(SMITH_CACHE_LINE, size); // a multiple of the alignment, by the slot's alignment
    if (wait->slots == NULL) {
        abort(); // a few hundred bytes: as for ggml's own allocations at this place, there is no going on
    }
    memset(wait->slots, 0, size);
    smith_steps_init(&wait->steps);
    wait->crew = smith_crew_join();
    smith_ticks_per_us(); // measured now, not while a graph is computed
}

void smith_wait_free(struct smith_wait * wait) {
    smith_attached_ends();
    smith_crew_leave(wait->crew);
    free(wait->slots);
    wait->slots = NULL;
}

static void wait_yielding(atomic_int * word, int old) {
    uint64_t yields = 0;
    while (atomic_load_explicit(word, memory_order_relaxed) == old) {
        sched_yield();
        yields++;
    }
    smith_count(&smith_self->yields, yields);
}

static void park(struct smith_wait * wait, atomic_int * word, int old) {
    atomic_fetch_add_explicit(&wait->n_parked, 1, memory_order_seq_cst);
    while (atomic_load_explicit(word, memory_order_seq_cst) == old) {
        smith_count(&smith_self->parks, 1);
        smith_park(word, old);
    }
    atomic_fetch_sub_explicit(&wait->n_parked, 1, memory_order_relaxed);
}

// Spins, then yields, then sleeps: until when, from the start of the wait.
static void wait_and_park(struct smith_wait * wait, atomic_int * word, int old, uint64_t spin_ns, uint64_t yield_ns) {
    const uint64_t start  = smith_ticks();
    const uint64_t spin   = spin_ns * smith_ticks_per_us() / 1000;
    const uint64_t yield  = yield_ns * smith_ticks_per_us() / 1000;
    uint64_t       spins  = 0;
    while (atomic_load_explicit(word, memory_order_relaxed) == old) {
        const uint64_t waited = smith_ticks() - start;
        if (waited < spin) {
            smith_relax();
            spins++;
        } else if (waited < yield) {
            sched_yield();
            smith_count(&smith_self->yields, 1);
        } else {
            park(wait, word, old);
        }
    }
    smith_count(&smith_self->spins, spins);
}

void smith_wait_patiently(struct smith_wait * wait, atomic_int * word, int old) {
    switch (policy_of(wait)) {
        case SMITH_WAIT_YIELD:    wait_yielding(word, old); break;
        case SMITH_WAIT_ADAPTIVE: wait_and_park(wait, word, old, SMITH_SPIN_NS, SMITH_YIELD_NS); break;
        default:                  wait_and_park(wait, word, old, PARK_AFTER_NS, PARK_AFTER_NS); break;
    }
}

void smith_unpark(struct smith_wait * wait, atomic_int * word) {
    (void) wait;
    smith_unpark_all(word);
}

int smith_barrier_threads(int n_threads) {
    if (smith_self == NULL || smith_self->nth == 0) {
        return n_threads;
    }
    if (smith_self->nth > 1 && smith_self->phase != SMITH_WHOLE) {
        fprintf(stderr, "llamasmith: an operation that nodes.c calls free of barriers has one\n");
        abort(); // the alternative is to wait for ever
    }
    return smith_self->nth;
}

bool smith_begin(struct smith_wait * wait, bool numa) {
    const bool on = policy_of(wait) == SMITH_WAIT_ADAPTIVE && !numa;
    if (atomic_exchange_explicit(&wait->steps.on, on, memory_order_seq_cst) && !on) {
        smith_steps_call_out(wait, false);
    }
    return on;
}

uint64_t smith_idle_rounds(const struct smith_wait * wait, uint32_t poll) {
    const uint64_t rounds = (uint64_t) ROUNDS_PER_POLL_LEVEL * poll;
    switch (policy_of(wait)) {
        case SMITH_WAIT_YIELD: return rounds / PAUSES_PER_YIELD;
        case SMITH_WAIT_PARK:  return poll > 0 ? PARK_IDLE_ROUNDS : 0;
        default:               return rounds;
    }
}

void smith_idle_relax(struct smith_wait * wait, int ith) {
    if (policy_of(wait) == SMITH_WAIT_YIELD) {
        sched_yield();
        smith_count(&wait->slots[ith].yields, 1);
    } else {
        smith_relax();
        smith_count(&wait->slots[ith].spins, 1);
    }
}

void smith_idle_park(struct smith_wait * wait, int ith) {
    smith_count(&wait->slots[ith].parks, 1);
}
