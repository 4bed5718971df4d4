#include "machine/bandwidth.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "threading/clock.h"

enum {
    SMITH_LINE_WORDS = 8,  // 64-bit words of a cache line
    SMITH_MIN_PASSES = 3,  // the first one also fills the TLB
};

struct smith_reading {
    int             n_threads;
    size_t          words_each;
    uint64_t        until_ns;
    pthread_mutex_t mutex;
    pthread_cond_t  turn;
    int             arrived;
    int             pass;      // that all wait for, or are in
    int             failed;    // threads that have no memory, or were not started
    bool            over;
    uint64_t        began_ns;
    double          best;      // seconds of the fastest pass
    _Atomic uint64_t sink;     // what was read, so that reading cannot be left out
};

// The last thread to arrive ends one pass and begins the next. A condition variable, not a spinning barrier: there may
// be more threads than CPUs.
static bool smith_meet(struct smith_reading * r) {
    pthread_mutex_lock(&r->mutex);
    if (++r->arrived == r->n_threads) {
        const uint64_t now = smith_nanoseconds();
        if (r->pass > 0) {
            const double took = (double) (now - r->began_ns) * 1e-9;
            r->best           = r->best == 0 || took < r->best ? took : r->best;
        }
        r->over     = r->failed > 0 || (r->pass >= SMITH_MIN_PASSES && now >= r->until_ns);
        r->arrived  = 0;
        r->began_ns = smith_nanoseconds();
        r->pass++;
        pthread_cond_broadcast(&r->turn);
    } else {
        const int pass = r->pass;
        while (pass == r->pass) {
            pthread_cond_wait(&r->turn, &r->mutex);
        }
    }
    const bool over = r->over;
    pthread_mutex_unlock(&r->mutex);
    return !over;
}

// Eight sums: one would make every addition wait for the one before it.
static uint64_t smith_read(const uint64_t * words, size_t n) {
    uint64_t sums[SMITH_LINE_WORDS] = { 0 };
    for (size_t i = 0; i + SMITH_LINE_WORDS <= n; i += SMITH_LINE_WORDS) {
        for (int lane = 0; lane < SMITH_LINE_WORDS; lane++) {
            sums[lane] += words[i + (size_t) lane];
        }
    }
    uint64_t sum = 0;
    for (int lane = 0; lane < SMITH_LINE_WORDS; lane++) {
        sum += sums[lane];
    }
    return sum;
}

static void * smith_reader(void * data) {
    struct smith_reading * r     = data;
    uint64_t *             words = malloc(r->words_each * sizeof(uint64_t));
    if (words != NULL) {
        memset(words, 1, r->words_each * sizeof(uint64_t));  // by the thread that reads it: near its CPU
    } else {
        pthread_mutex_lock(&r->mutex);
        r->failed++;
        pthread_mutex_unlock(&r->mutex);
    }
    while (smith_meet(r)) {
        atomic_fetch_add_explicit(&r->sink, smith_read(words, r->words_each), memory_order_relaxed);
    }
    free(words);
    return NULL;
}

double smith_read_bandwidth(int n_threads, size_t n_bytes, double seconds) {
    const size_t line  = SMITH_LINE_WORDS * sizeof(uint64_t);
    const size_t lines = n_threads > 0 ? n_bytes / (size_t) n_threads / line : 0;
    if (lines == 0) {
        return -1;
    }
    struct smith_reading r = {
        .n_threads  = n_threads,
        .words_each = lines * SMITH_LINE_WORDS,
        .until_ns   = smith_nanoseconds() + (uint64_t) (seconds * 1e9),
        .mutex      = PTHREAD_MUTEX_INITIALIZER,
        .turn       = PTHREAD_COND_INITIALIZER,
    };
    pthread_t * threads = calloc((size_t) n_threads, sizeof(pthread_t));
    int         started = 0;
    while (threads != NULL && started < n_threads - 1 &&
           pthread_create(&threads[started], NULL, smith_reader, &r) == 0) {
        started++;
    }
    // This thread takes part, and stands in for those that could not be started: the others must not wait for them.
    pthread_mutex_lock(&r.mutex);
    r.failed    += n_threads - 1 - started;
    r.n_threads  = started + 1;
    pthread_mutex_unlock(&r.mutex);
    smith_reader(&r);
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
    return r.failed > 0 || r.best <= 0 ? -1 : (double) (r.words_each * sizeof(uint64_t)) * n_threads / r.best;
}
