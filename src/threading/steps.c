#include "steps.h"

#include <sched.h>

#include "crew.h"
#include "nodes.h"
#include "share.h"
#include "sleep.h"
#include "wait.h"

// The protocol is checked exhaustively, as a model, by tests/unit/test_step_protocol.py: change both.

// How long a thread waits in which way, in nanoseconds. Measured on two CPUs, see docs/threading.md.
//
// A thread that has a CPU begins its piece within a microsecond. One that has not begun after this time counts as absent:
// its pieces are taken at once from then on, until it is seen again. (Taking them after one microsecond cost 2 to 3 %.)
#define TAKE_AFTER_NS 20000u
// Between two graphs: a program chooses a token in less.
#define IDLE_SPIN_NS 1000000u
// A thread that has run for so long offers its CPU to others while it holds no piece: better put aside now than in the
// middle of one. With nobody else to run, that is a system call of half a microsecond.
#define REST_AFTER_NS 1500000u
// Nothing that a thread does between two steps takes so long, but to be put aside.
#define GAP_NS 500000u
// Looks at the step, with a pause after each, between two looks at the clock and at the others' pieces.
#define LOOKS 8

// -- what is to be done, in one word: node + 1 (0: no graph) | pieces | phase | gather

static uint64_t pack(int node, int n_pieces, int phase, bool gather) {
    return (uint64_t) (uint32_t) (node + 1) << 32 | (uint64_t) n_pieces << 8 | (uint64_t) phase << 1 | (uint64_t) gather;
}

static int  node_of(uint64_t what) { return (int) (uint32_t) (what >> 32) - 1; }
static int  pieces_of(uint64_t what) { return (int) (what >> 8 & 0xffff); }
static int  phase_of(uint64_t what) { return (int) (what >> 1 & 3); }
static bool gathers(uint64_t what) { return what & 1; }

#define NO_GRAPH 0u

static uint64_t step_of(const struct smith_steps * steps) {
    return atomic_load_explicit(&steps->step, memory_order_acquire);
}

// The present step and its number. Two words, so that the one of step s + 1 can be written before s ends: a reader that
// finds the number unchanged afterwards has read the word of that number.
static uint64_t look(const struct smith_steps * steps, uint64_t * what) {
    for (;;) {
        const uint64_t step = step_of(steps);
        *what               = atomic_load_explicit(&steps->what[step & 1], memory_order_acquire);
        if (step_of(steps) == step) {
            return step;
        }
    }
}

// Ends the step `step`, of which all pieces are done, and begins the next.
static void publish(struct smith_wait * wait, uint64_t step, uint64_t what) {
    struct smith_steps * steps = &wait->steps;
    atomic_store_explicit(&steps->what[(step + 1) & 1], what, memory_order_release);
    atomic_store_explicit(&steps->step, step + 1, memory_order_seq_cst);
    if (atomic_load_explicit(&steps->n_asleep, memory_order_seq_cst) > 0) {
        smith_wake(wait, 0);
        const int n_active = atomic_load_explicit(&steps->n_active, memory_order_relaxed);
        for (int i = 1; i < n_active && node_of(what) >= 0; i++) {
            smith_wake(wait, i);
        }
    }
}

// -- from step to step

static int run(struct ggml_threadpool * threadpool, int node, int phase, int ith, int nth) {
    struct smith_slot * const self = smith_self; // looked up once: thread-local storage of a loaded module is not free
    self->nth                      = nth;
    self->phase                    = phase;
    self->bordered                 = false;
    const int n_nodes              = ggml_threadpool_smith_run(threadpool, node, ith, nth);
    self->nth                      = 0;
    self->phase                    = SMITH_WHOLE;
    return n_nodes;
}

// Computes piece `ith` of the present step, in all nodes of its group. Returns how many nodes the first one was.
static int run_piece(struct ggml_threadpool * threadpool, const struct smith_steps * steps, int phase, int ith, int nth) {
    struct smith_slot * const self = smith_self;
    self->job                      = ith;
    self->end_job                  = 0;
    const int n_nodes              = run(threadpool, steps->group[0], phase, ith, nth);
    for (int i = 1; i < steps->n_group; i++) {
        run(threadpool, steps->group[i], phase, ith, nth);
    }
    return n_nodes;
}

// Thread 0 asks for the graph's owner, in its own thread.
static bool aborts(struct ggml_threadpool * threadpool, struct smith_wait * wait) {
    struct smith_steps * steps = &wait->steps;
    if (smith_self == &wait->slots[0] && ggml_threadpool_smith_aborts(threadpool)) {
        atomic_store_explicit(&steps->abort, true, memory_order_relaxed);
    }
    return atomic_load_explicit(&steps->abort, memory_order_relaxed);
}

// A step of one node.
static void take_one(struct smith_steps * steps, int node) {
    steps->n_group  = 1;
    steps->group[0] = node;
}

// Whether the product at `node` was computed before its turn, in a group that is over.
static bool went_first(const struct smith_steps * steps, int node) {
    for (int i = 1; i < steps->n_group; i++) {
        if (steps->group[i] == node) {
            return true;
        }
    }
    return false;
}

// Computes what comes before the border of the present step's node, in so many pieces. Returns the number of nodes if
// that was all there is, else 0.
static int prepare(struct ggml_threadpool * threadpool, const struct smith_steps * steps, int n_pieces) {
    int n_nodes = 0;
    for (int i = 0; i < n_pieces; i++) {
        n_nodes = run_piece(threadpool, steps, SMITH_PREPARE, i, n_pieces);
    }
    return smith_self->bordered ? 0 : n_nodes;
}

// Finds what is to be done from `node` on, which is in `phase`, and computes on the way what is not worth sharing.
// Called by one thread at a time: no step is under way.
static uint64_t next(struct ggml_threadpool * threadpool, struct smith_wait * wait, int node, int phase) {
    struct smith_steps * steps = &wait->steps;
    const int            nth   = steps->nth;
    while (node < steps->n_nodes && !aborts(threadpool, wait)) {
        const int n_active = smith_share_again(wait);
        if (phase == SMITH_PREPARE) {
            const enum smith_manner manner = smith_manner_of(ggml_threadpool_smith_node(threadpool, node));
            if (manner == SMITH_SKIP || went_first(steps, node)) {
                node++;
                continue;
            }
            if (manner == SMITH_ALONE || nth == 1 || (manner == SMITH_GATHER && n_active == 1)) {
                node += run(threadpool, node, SMITH_WHOLE, 0, 1);
                continue;
            }
            take_one(steps, node);
            ggml_threadpool_chunk_set(threadpool, nth);
            if (manner == SMITH_GATHER) {
                return pack(node, n_active, SMITH_WHOLE, true);
            }
            if (manner == SMITH_SHARE && n_active > 1) {
                return pack(node, nth, SMITH_PREPARE, false);
            }
            const int n_nodes = prepare(threadpool, steps, manner == SMITH_MATRIX ? 1 : nth);
            if (n_nodes > 0) {
                node += n_nodes;
                continue;
            }
            if (manner == SMITH_MATRIX) {
                steps->n_group = smith_group_of(threadpool, node, steps->n_nodes, steps->group);
            }
        }
        ggml_threadpool_chunk_set(threadpool, nth);
        if (n_active > 1) {
            return pack(node, nth, SMITH_PRODUCE, false);
        }
        int n_nodes = 0;
        for (int i = 0; i < nth; i++) {
            n_nodes = run_piece(threadpool, steps, SMITH_PRODUCE, i, nth);
        }
        node += n_nodes;
        phase = SMITH_PREPARE;
    }
    return NO_GRAPH;
}

// Computes a claimed piece; if it is the last one of the step to be done, finds the next step and publishes it.
static void compute_piece(struct ggml_threadpool * threadpool, struct smith_wait * wait, uint64_t step, uint64_t what,
                          int piece) {
    struct smith_steps * steps    = &wait->steps;
    const int            node     = node_of(what);
    const int            n_pieces = pieces_of(what);
    const int            n_nodes  = run_piece(threadpool, steps, phase_of(what), piece, n_pieces);
    if (atomic_fetch_add_explicit(&steps->n_done, 1, memory_order_acq_rel) + 1 < n_pieces) {
        return;
    }
    atomic_store_explicit(&steps->n_done, 0, memory_order_relaxed);
    smith_count(&smith_self->barriers, 1);
    const bool half = phase_of(what) == SMITH_PREPARE && smith_self->bordered;
    publish(wait, step,
            half ? next(threadpool, wait, node, SMITH_PRODUCE) : next(threadpool, wait, node + n_nodes, SMITH_PREPARE));
}

// A piece can be claimed once for each step. That the step is over by now is no danger: then all its pieces were
// claimed before, for this step or a later one.
static bool claim(struct smith_wait * wait, uint64_t step, int piece) {
    atomic_uint_fast64_t * claimed = &wait->slots[piece].claimed;
    uint64_t               seen    = atomic_load_explicit(claimed, memory_order_relaxed);
    return seen < step && atomic_compare_exchange_strong_explicit(claimed, &seen, step, memory_order_acq_rel,
                                                                  memory_order_relaxed);
}

// Between two steps: gives the CPU away in time, as far as the thread can tell how long it has had it.
static void rest(struct smith_slot * self) {
    const uint64_t per_us = smith_ticks_per_us();
    const uint64_t now    = smith_ticks();
    if (now - self->seen_running > GAP_NS * per_us / 1000) {
        self->running_since = now;
    } else if (now - self->running_since > REST_AFTER_NS * per_us / 1000) {
        sched_yield();
        smith_count(&self->yields, 1);
        self->running_since = smith_ticks();
    }
    self->seen_running = now > self->running_since ? now : self->running_since;
}

// A thread's own pieces: of its number, and of threads that are not active.
static void compute_own(struct ggml_threadpool * threadpool, struct smith_wait * wait, int ith, uint64_t step,
                        uint64_t what) {
    const int n_active = atomic_load_explicit(&wait->steps.n_active, memory_order_relaxed);
    if (atomic_load_explicit(&smith_self->absent, memory_order_relaxed)) {
        atomic_store_explicit(&smith_self->absent, false, memory_order_relaxed);
    }
    rest(smith_self);
    for (int piece = ith; piece < pieces_of(what); piece += n_active) {
        if (claim(wait, step, piece)) {
            compute_piece(threadpool, wait, step, what, piece);
        }
    }
}

// A piece of a thread that is absent, or of any that has not begun although `all_late`. Not where all must arrive.
static bool compute_late(struct ggml_threadpool * threadpool, struct smith_wait * wait, int ith, uint64_t step,
                         uint64_t what, bool all_late) {
    const int n_active = atomic_load_explicit(&wait->steps.n_active, memory_order_relaxed);
    const int n_pieces = pieces_of(what);
    for (int i = 1; i < n_pieces && !gathers(what); i++) {
        const int           piece = (ith + i) % n_pieces;
        struct smith_slot * owner = &wait->slots[piece % n_active];
        if ((all_late || atomic_load_explicit(&owner->absent, memory_order_relaxed)) && claim(wait, step, piece)) {
            atomic_store_explicit(&owner->absent, true, memory_order_relaxed);
            smith_count(&smith_self->taken, 1);
            compute_piece(threadpool, wait, step, what, piece);
            return true;
        }
    }
    return false;
}

// -- waiting

// Returns when the step is over, or for another reason to look again.
static void wait_for_step(struct ggml_threadpool * threadpool, struct smith_wait * wait, int ith, uint64_t step,
                          uint64_t what) {
    struct smith_steps * steps    = &wait->steps;
    const bool           in_graph = node_of(what) >= 0;
    const bool           active   = smith_is_active(steps, ith);
    const uint64_t       per_us   = smith_ticks_per_us();
    const uint64_t       start    = smith_ticks();
    const uint64_t       take     = TAKE_AFTER_NS * per_us / 1000;
    const uint64_t       spin     = (in_graph ? SMITH_SPIN_NS : steps->idle_spin ? IDLE_SPIN_NS : 0) * per_us / 1000;
    const uint64_t       yield    = in_graph ? SMITH_YIELD_NS * per_us / 1000 : spin;
    uint64_t             spins    = 0;
    uint64_t             waited   = 0;
    uint64_t             slept    = 0; // not a cost: the CPU is free for others
    bool                 over     = false;
    while (!over && atomic_load_explicit(&steps->step, memory_order_relaxed) == step) {
        if (active && waited < spin) {
            for (int i = 0; i < LOOKS && atomic_load_explicit(&steps->step, memory_order_relaxed) == step; i++) {
                smith_relax();
                spins++;
            }
        } else if (active && waited < yield) {
            sched_yield();
            smith_count(&smith_self->yields, 1);
        } else {
            const uint64_t asleep = smith_ticks();
            smith_sleep(wait, ith, step);
            slept += smith_ticks() - asleep;
        }
        waited = smith_ticks() - start;
        over   = in_graph ? active && compute_late(threadpool, wait, ith, step, what, waited > take) : smith_must_leave(steps);
    }
    smith_count(&smith_self->spins, spins);
    if (in_graph && active) {
        smith_count(&smith_self->barriers, 1);
        smith_count(&smith_self->wait_ticks, waited - slept);
    }
}

// -- the two ways in

bool smith_steps_compute(struct ggml_threadpool * threadpool, struct smith_wait * wait, int n_nodes, int nth,
                         uint32_t poll) {
    struct smith_steps * steps = &wait->steps;
    smith_self                 = &wait->slots[0];
    steps->nth                 = nth;
    steps->n_nodes             = n_nodes;
    steps->n_group             = 0;
    atomic_store_explicit(&steps->abort, false, memory_order_relaxed);
    atomic_store_explicit(&steps->idle_spin, poll > 0, memory_order_relaxed);
    smith_crew_begin(wait->crew);
    smith_share(wait);

    uint64_t what;
    uint64_t step = look(steps, &what);
    what          = next(threadpool, wait, 0, SMITH_PREPARE);
    if (node_of(what) >= 0) {
        publish(wait, step, what);
    }
    while (node_of(what) >= 0) {
        step = look(steps, &what);
        if (node_of(what) >= 0) {
            compute_own(threadpool, wait, 0, step, what);
            aborts(threadpool, wait); // others may end all steps: thread 0 must not forget to ask
            if (step_of(steps) == step) {
                wait_for_step(threadpool, wait, 0, step, what);
            }
        }
    }
    smith_crew_end(wait->crew);
    return !atomic_load_explicit(&steps->abort, memory_order_relaxed);
}

bool smith_steps_serve(struct ggml_threadpool * threadpool, struct smith_wait * wait, int ith) {
    struct smith_steps * steps = &wait->steps;
    if (!atomic_load_explicit(&steps->on, memory_order_seq_cst)) {
        return false;
    }
    smith_self = &wait->slots[ith];
    while (!smith_must_leave(steps)) {
        uint64_t       what;
        const uint64_t step = look(steps, &what);
        if (node_of(what) >= 0 && smith_is_active(steps, ith)) {
            compute_own(threadpool, wait, ith, step, what);
        }
        if (step_of(steps) == step) {
            wait_for_step(threadpool, wait, ith, step, what);
        }
    }
    return true;
}

void smith_steps_call_out(struct smith_wait * wait, bool leave) {
    atomic_store_explicit(&wait->steps.leave, leave, memory_order_seq_cst);
    for (int i = 1; i < wait->n_threads; i++) {
        smith_wake(wait, i);
    }
}

void smith_steps_init(struct smith_steps * steps) {
    atomic_init(&steps->step, 1); // a slot's `claimed` begins with 0
    atomic_init(&steps->what[0], NO_GRAPH);
    atomic_init(&steps->what[1], NO_GRAPH);
    atomic_init(&steps->n_active, 1);
    atomic_init(&steps->n_asleep, 0);
    atomic_init(&steps->on, false);
    atomic_init(&steps->leave, false);
    atomic_init(&steps->abort, false);
    atomic_init(&steps->n_done, 0);
    atomic_init(&steps->idle_spin, true);
    steps->nth          = 1;
    steps->n_nodes      = 0;
    steps->n_group      = 0;
    steps->shared_since = 0;
    steps->n_unshared   = 0;
}
