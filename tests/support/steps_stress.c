// Graphs that compute nothing, on the real src/threading: each piece once, phases in order, in pools of 1 to 8 threads
// that the scheduler treats badly. The pool around it is what a patched ggml-cpu.c has, in short.
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "threading/attached.h"
#include "threading/border.h"
#include "threading/crew.h"
#include "threading/group.h"
#include "threading/nodes.h"
#include "threading/steps.h"
#include "threading/wait.h"

#define MAX_THREADS 8
#define N_NODES     24
#define MAX_JOBS    9
#ifndef N_GRAPHS
#define N_GRAPHS 30
#endif

// What the pieces of a node have written: the number of the graph. Not atomic: the steps have to order it.
struct ggml_tensor {
    enum smith_manner manner;
    bool              bordered;
    bool              free;       // may be computed in any order: depends on nothing
    int               activation; // what a product quantises
    int               n_jobs;
    int               jobs[2][MAX_JOBS]; // of two loops
    int               n_prepared; // pieces of each half
    int               n_produced;
    int               prepared[MAX_THREADS];
    int               produced[MAX_THREADS];
};

struct ggml_threadpool {
    struct smith_wait  wait;
    int                n_threads;
    int                nth; // of the present graph
    int                graph;
    struct ggml_tensor nodes[N_NODES];
    atomic_int         n_barrier, n_passed, current_chunk;
    int                abort_at; // how often the graph's owner is asked before it wants to stop; 0: never

    pthread_mutex_t mutex;
    pthread_cond_t  cond;
    bool            stop, pause;
    int             kicked; // graphs for upstream's loop, by number
    atomic_int      n_left; // workers that have not ended the last one
};

static struct ggml_threadpool * the_pool;

static void check(bool good, const char * what) {
    if (!good) {
        printf("%d threads, graph %d: %s\n", the_pool->n_threads, the_pool->graph, what);
        fflush(stdout);
        _Exit(1);
    }
}

static unsigned draw(unsigned n) {
    static _Thread_local unsigned state;
    if (state == 0) {
        state = 1 + 2654435761u * (unsigned) (smith_self == NULL ? 0 : smith_self - the_pool->wait.slots);
    }
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}

// A scheduler that takes the CPU away anywhere.
static void lose_the_cpu(void) {
    switch (draw(24)) {
        case 0:  usleep(draw(400)); break; // the others sleep meanwhile
        case 1:
        case 2:
        case 3:  sched_yield(); break;
        default: break;
    }
}

// -- what steps.c calls of the engine

void                smith_attached_ends(void) {}
struct smith_crew * smith_crew_join(void) { return NULL; }
void                smith_crew_leave(struct smith_crew * crew) { (void) crew; }
void                smith_crew_end(struct smith_crew * crew) { (void) crew; }
void                smith_crew_begin(struct smith_crew * crew) { (void) crew; }
int                 smith_crew_share(const struct smith_crew * crew, int n_threads, int n_cpus) {
    (void) crew;
    (void) n_cpus;
    return draw(2) ? n_threads : 1 + (int) draw((unsigned) n_threads);
}

enum smith_manner    smith_manner_of(const struct ggml_tensor * node) { return node->manner; }
bool smith_same_preparation(const struct ggml_tensor * node, const struct ggml_tensor * other) {
    return node->bordered && other->bordered && node->activation == other->activation;
}
bool smith_independent(const struct ggml_tensor * node, const struct ggml_tensor * other) {
    return node->free || other->free;
}
struct ggml_tensor * ggml_threadpool_smith_node(struct ggml_threadpool * pool, int node_n) { return &pool->nodes[node_n]; }
bool ggml_threadpool_smith_aborts(struct ggml_threadpool * pool) { return pool->abort_at > 0 && --pool->abort_at == 0; }
void ggml_threadpool_chunk_set(struct ggml_threadpool * pool, int value) { atomic_store(&pool->current_chunk, value); }
int  ggml_threadpool_chunk_add(struct ggml_threadpool * pool, int value) { return atomic_fetch_add(&pool->current_chunk, value); }

void ggml_barrier(struct ggml_threadpool * pool) {
    const int n_threads = smith_barrier_threads(pool->nth);
    const int n_passed  = atomic_load(&pool->n_passed);
    if (n_threads == 1) {
        return;
    }
    if (atomic_fetch_add(&pool->n_barrier, 1) == n_threads - 1) {
        atomic_store(&pool->n_barrier, 0);
        atomic_fetch_add(&pool->n_passed, 1);
        smith_release(&pool->wait, &pool->n_passed);
    } else {
        smith_wait_while(&pool->wait, &pool->n_passed, n_passed);
        atomic_fetch_add(&pool->n_passed, 0); // upstream's fence, as it is there for the thread sanitizer
    }
}

static void once(int * written, int graph) {
    check(*written != graph, "a piece was computed twice");
    *written = graph;
}

static void all_done(const int * written, int n, int graph, const char * what) {
    for (int i = 0; i < n; i++) {
        check(written[i] == graph, what);
    }
}

// A loop as in the patched operations.
static void do_jobs(struct ggml_threadpool * pool, struct ggml_tensor * node, int * jobs, int ith, int graph) {
    for (int64_t job = smith_first_job(ith, node->n_jobs); job < node->n_jobs; job = smith_next_job(pool)) {
        once(&jobs[job], graph);
        lose_the_cpu();
    }
}

// Two loops, as of llamafile's kernels for a product of two slices.
static void do_slices(struct ggml_threadpool * pool, struct ggml_tensor * node, int ith, int nth, int graph) {
    for (int slice = 0; slice < 2; slice++) {
        if (!smith_in_step()) {
            if (ith == 0) {
                ggml_threadpool_chunk_set(pool, nth);
            }
            ggml_barrier(pool);
        }
        do_jobs(pool, node, node->jobs[slice], ith, graph);
        if (!smith_in_step()) {
            ggml_barrier(pool);
        }
    }
}

int ggml_threadpool_smith_run(struct ggml_threadpool * pool, int node_n, int ith, int nth) {
    struct ggml_tensor * node  = &pool->nodes[node_n];
    const int            graph = pool->graph;
    for (int i = node_n - 1; i >= 0; i--) {
        if (pool->nodes[i].manner != SMITH_SKIP && !smith_independent(node, &pool->nodes[i])) {
            all_done(pool->nodes[i].produced, pool->nodes[i].n_produced, graph,
                     "a node began before one on which it depends had ended");
            break;
        }
    }
    check(node->manner != SMITH_SKIP, "a node without work was computed");
    if (smith_prepares()) {
        once(&node->prepared[ith], graph);
        lose_the_cpu();
        if (ith == 0) {
            node->n_prepared = nth;
            if (node->bordered) {
                ggml_threadpool_chunk_set(pool, nth);
            }
        }
    }
    if (node->manner == SMITH_GATHER) {
        ggml_barrier(pool);
        all_done(node->prepared, node->n_prepared, graph, "the barrier in an operation let a thread pass too early");
        ggml_barrier(pool);
    } else if (node->bordered) {
        if (!smith_border(pool)) {
            return 1;
        }
        all_done(node->prepared, node->n_prepared, graph, "a piece passed the border before all had prepared");
        do_jobs(pool, node, node->jobs[0], ith, graph);
    } else if (node->manner == SMITH_SHARE) {
        do_slices(pool, node, ith, nth, graph);
    }
    lose_the_cpu();
    if (ith == 0) {
        node->n_produced = nth;
    }
    once(&node->produced[ith], graph);
    return 1;
}

// -- upstream's pool, in short

static void compute_by_loop(struct ggml_threadpool * pool, int ith) {
    smith_enter(&pool->wait, ith);
    for (int node = 0; node < N_NODES; node++) {
        if (pool->nodes[node].manner != SMITH_SKIP) {
            ggml_threadpool_smith_run(pool, node, ith, pool->nth);
        }
        ggml_barrier(pool);
    }
}

struct worker {
    struct ggml_threadpool * pool;
    int                      ith;
    pthread_t                thread;
};

static void * work(void * data) {
    struct worker * const          self = data;
    struct ggml_threadpool * const pool = self->pool;
    for (int kicked = 0;;) {
        pthread_mutex_lock(&pool->mutex);
        while (pool->pause && !pool->stop) {
            pthread_cond_wait(&pool->cond, &pool->mutex);
        }
        const bool stop = pool->stop;
        pthread_mutex_unlock(&pool->mutex);
        if (stop) {
            return NULL;
        }
        if (smith_steps_serve(pool, &pool->wait, self->ith)) {
            continue;
        }
        pthread_mutex_lock(&pool->mutex);
        while (!pool->stop && !pool->pause && kicked == pool->kicked && !smith_by_steps(&pool->wait)) {
            pthread_cond_wait(&pool->cond, &pool->mutex);
        }
        const bool has_work = kicked != pool->kicked && self->ith < pool->nth && pool->kicked == pool->graph;
        kicked              = pool->kicked;
        pthread_mutex_unlock(&pool->mutex);
        if (has_work) {
            compute_by_loop(pool, self->ith);
        }
    }
}

static bool compute(struct ggml_threadpool * pool, int nth) {
    pthread_mutex_lock(&pool->mutex);
    pool->graph++;
    pool->nth = nth;
    pthread_mutex_unlock(&pool->mutex);
    const bool by_steps = smith_begin(&pool->wait, false);
    pthread_mutex_lock(&pool->mutex);
    if (!by_steps) {
        pool->kicked = pool->graph;
    }
    if (pool->pause) {
        smith_steps_call_out(&pool->wait, false);
        pool->pause = false;
    }
    pthread_cond_broadcast(&pool->cond);
    pthread_mutex_unlock(&pool->mutex);
    if (by_steps) {
        return smith_steps_compute(pool, &pool->wait, N_NODES, nth, draw(2) * 50);
    }
    compute_by_loop(pool, 0);
    return true;
}

static void call_out(struct ggml_threadpool * pool, bool stop) {
    pthread_mutex_lock(&pool->mutex);
    pool->stop  = stop;
    pool->pause = !stop;
    smith_steps_call_out(&pool->wait, true);
    pthread_cond_broadcast(&pool->cond);
    pthread_mutex_unlock(&pool->mutex);
}

static void check_graph(const struct ggml_threadpool * pool, bool complete) {
    bool may_begin = true; // where a graph was stopped, nothing later was begun
    for (int n = 0; n < N_NODES; n++) {
        const struct ggml_tensor * node = &pool->nodes[n];
        if (node->manner == SMITH_SKIP) {
            continue;
        }
        const bool ended = node->produced[0] == pool->graph;
        const bool begun = node->prepared[0] == pool->graph || ended;
        check(ended || !complete, "a node was left out");
        check(may_begin || node->free || !begun, "a node was left out in the middle");
        all_done(node->prepared, begun ? node->n_prepared : 0, pool->graph, "a piece was left out");
        all_done(node->produced, ended ? node->n_produced : 0, pool->graph, "a piece was left out after its border");
        if (ended && node->manner != SMITH_GATHER && (node->bordered || node->manner == SMITH_SHARE)) {
            all_done(node->jobs[0], node->n_jobs, pool->graph, "a job was left out");
            all_done(node->jobs[1], node->bordered ? 0 : node->n_jobs, pool->graph, "a job of the second loop was left out");
        }
        may_begin = may_begin && ended;
    }
    const struct smith_steps * steps = &pool->wait.steps;
    check(atomic_load(&steps->n_done) == 0, "pieces are still counted as done");
    check(complete || atomic_load(&steps->abort), "a graph was stopped for nothing");
}

static void make_nodes(struct ggml_threadpool * pool) {
    for (int i = 0; i < N_NODES; i++) {
        pool->nodes[i].manner   = (enum smith_manner) draw(SMITH_GATHER + 1);
        pool->nodes[i].bordered = draw(2) || pool->nodes[i].manner == SMITH_READY;
        pool->nodes[i].free       = pool->nodes[i].manner == SMITH_MATRIX && draw(4) > 0;
        pool->nodes[i].activation = (int) draw(2);
        pool->nodes[i].n_jobs     = 1 + (int) draw(MAX_JOBS);
        pool->nodes[i].n_prepared = 0; // none is needed, where another product's is used
    }
}

static uint64_t stress(int n_threads) {
    struct ggml_threadpool * pool = aligned_alloc(SMITH_CACHE_LINE, sizeof(*pool));
    memset(pool, 0, sizeof(*pool));
    the_pool        = pool;
    pool->n_threads = n_threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->cond, NULL);
    smith_wait_init(&pool->wait, n_threads);
    struct worker workers[MAX_THREADS];
    for (int i = 1; i < n_threads; i++) {
        workers[i] = (struct worker) { .pool = pool, .ith = i };
        check(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "no thread");
    }
    for (int i = 0; i < N_GRAPHS; i++) {
        make_nodes(pool);
        pool->abort_at = draw(6) ? 0 : 1 + (int) draw(N_NODES);
        const bool may_stop = pool->abort_at > 0;
        atomic_store(&pool->wait.policy, draw(5) ? SMITH_WAIT_ADAPTIVE : draw(2) ? SMITH_WAIT_PARK : SMITH_WAIT_YIELD);
        const bool complete = compute(pool, draw(3) ? n_threads : 1 + (int) draw((unsigned) n_threads));
        check(complete || may_stop, "a graph was stopped that nobody wanted to stop");
        check_graph(pool, complete);
        switch (draw(6)) {
            case 0:  call_out(pool, false); break;
            case 1:  usleep(draw(1000)); break; // the workers fall asleep
            default: break;
        }
    }
    call_out(pool, true);
    uint64_t taken = 0;
    for (int i = 1; i < n_threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    for (int i = 0; i < n_threads; i++) {
        taken += atomic_load(&pool->wait.slots[i].taken);
        check(atomic_load(&pool->wait.slots[i].asleep) == SMITH_AWAKE, "a thread that has ended counts as asleep");
    }
    check(atomic_load(&pool->wait.steps.n_asleep) == 0, "somebody is still counted as asleep");
    check(atomic_load(&pool->wait.n_parked) == 0, "somebody is still counted as parked");
    smith_wait_free(&pool->wait);
    smith_self = NULL;
    free(pool);
    return taken;
}

int main(void) {
    alarm(60); // ends a program that hangs, with a signal
    uint64_t taken = 0;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        taken += stress(n_threads);
    }
    puts(taken > 0 ? "sound" : "nobody took a piece of a late thread");
    return 0;
}
