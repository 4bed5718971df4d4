// Computing a graph step by step, each complete when its pieces are done, whoever has done them.
//
// Upstream goes from node to node when every thread has *arrived*: one thread without a CPU then holds up all others
// for as long as the scheduler likes. Here the work of a node is cut into as many pieces as the graph has threads,
// with ggml's own `ith` and `nth`, and a step ends when all its pieces are *done*. A thread computes the piece of its
// own number; one that is late finds it taken by another, and just joins the present step. So a thread without a CPU
// holds up the others only if it lost it in the middle of a piece. As the number of pieces does not depend on how many
// threads work, no bit of a result does either (but where all must arrive: there, the threads that work are the pieces).
//
// The thread that ends a step (the finisher) looks for the next one. What is too small to be worth a meeting, it
// computes on the way by itself.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "group.h"
#include "slot.h"

struct ggml_threadpool;
struct ggml_tensor;

// Operations with a barrier inside are cut in two at that place: the phase border.
enum smith_phase {
    SMITH_WHOLE   = 0, // both phases at once, with a barrier between them
    SMITH_PREPARE = 1, // up to the border
    SMITH_PRODUCE = 2, // from the border on
};

// The policy `adaptive`, in a graph: how long a thread spins, and then, until it sleeps, yields; from the start of its wait.
//
// While all threads run, only the split attention of long texts and the steps of prompts make anybody wait so long.
#define SMITH_SPIN_NS 100000u
// With nobody else to run, sched_yield() is a slow pause; with somebody, it gives the CPU away for a time slice.
#define SMITH_YIELD_NS 300000u

struct smith_steps {
    // One line, which every thread reads and only a finisher writes.
    _Alignas(SMITH_CACHE_LINE) atomic_uint_fast64_t step; // number of the present step: grows, and is never reset
    atomic_uint_fast64_t what[2]; // the present step and the one before it, by number mod 2: see steps.c
    atomic_int n_active;          // threads that are to work on the graph just now
    atomic_int n_asleep;          // at least as many as there are slots with `asleep` at SMITH_NAPS
    atomic_bool on;               // graphs are computed by steps; else by upstream's loop
    atomic_bool leave;            // the workers must go back to upstream's loop: the pool is paused or ends
    atomic_bool abort;

    _Alignas(SMITH_CACHE_LINE) atomic_int n_done; // pieces of the present step that are done

    _Alignas(SMITH_CACHE_LINE) int nth; // pieces of a step, fixed for a graph
    int  n_nodes;
    int  n_group;
    int  group[SMITH_GROUP]; // the nodes of the present step
    uint64_t shared_since;   // clock ticks when `n_active` was found, and nodes since: of thread 0
    int      n_unshared;
    atomic_bool idle_spin; // workers may spin before they sleep between graphs
};

struct smith_wait;

void smith_steps_init(struct smith_steps * steps);

// Thread 0: computes the graph that the pool holds, of `n_nodes` nodes, as `nth` threads would. Returns false if it
// was aborted.
bool smith_steps_compute(struct ggml_threadpool * threadpool, struct smith_wait * wait, int n_nodes, int nth,
                         uint32_t poll);

// The other threads: work on whatever graphs come, until the pool pauses or ends or goes back to upstream's loop.
// Returns false if that is where they belong at the start.
bool smith_steps_serve(struct ggml_threadpool * threadpool, struct smith_wait * wait, int ith);

// Makes the workers leave smith_steps_serve(); or, with `leave` false, look again whether they belong
// there.
void smith_steps_call_out(struct smith_wait * wait, bool leave);

// Upstream's.
void ggml_barrier(struct ggml_threadpool * threadpool);
void ggml_threadpool_chunk_set(struct ggml_threadpool * threadpool, int value);
int  ggml_threadpool_chunk_add(struct ggml_threadpool * threadpool, int value);

// Defined by the patch threading-step-completion; weak, so that an engine built without it loads. A node of the graph that
// the pool computes; piece `ith` of `nth` of it, computed: returns how many nodes that was, fused ones included; whether
// the graph's owner wants to stop.
#define SMITH_OF_PATCH __attribute__((weak))
SMITH_OF_PATCH struct ggml_tensor * ggml_threadpool_smith_node(struct ggml_threadpool * threadpool, int node_n);
SMITH_OF_PATCH int  ggml_threadpool_smith_run(struct ggml_threadpool * threadpool, int node_n, int ith, int nth);
SMITH_OF_PATCH bool ggml_threadpool_smith_aborts(struct ggml_threadpool * threadpool);
