#include "crew.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "clock.h"

// Pools beyond these are not seen by the others: they get threads as if they were alone.
#define MAX_CREWS 64
// A program that generates text computes the next graph within this time after the last one.
#define RECENT_US 3000u

struct smith_crew {
    atomic_bool          taken;
    atomic_bool          computing;
    atomic_uint_fast64_t seen; // clock ticks when its last graph ended
};

static struct smith_crew crews[MAX_CREWS];

// The mask of the calling thread, which the workers have inherited. A program may change it at any time; to ask takes
// less than a microsecond.
static int n_cpus_allowed(void) {
#if defined(__linux__)
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof(mask), &mask) == 0) {
        return CPU_COUNT(&mask);
    }
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int) online : 1;
}

static void forget_all(void) {
    for (int i = 0; i < MAX_CREWS; i++) {
        atomic_store_explicit(&crews[i].computing, false, memory_order_relaxed); // their threads are in the parent
    }
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget_all);
}

struct smith_crew * smith_crew_join(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    for (int i = 0; i < MAX_CREWS; i++) {
        if (!atomic_exchange_explicit(&crews[i].taken, true, memory_order_acq_rel)) {
            atomic_store_explicit(&crews[i].computing, false, memory_order_relaxed);
            atomic_store_explicit(&crews[i].seen, 0, memory_order_relaxed);
            return &crews[i];
        }
    }
    return NULL;
}

void smith_crew_leave(struct smith_crew * crew) {
    if (crew != NULL) {
        atomic_store_explicit(&crew->computing, false, memory_order_relaxed);
        atomic_store_explicit(&crew->taken, false, memory_order_release);
    }
}

void smith_crew_begin(struct smith_crew * crew) {
    if (crew != NULL) {
        atomic_store_explicit(&crew->computing, true, memory_order_relaxed);
    }
}

int smith_crew_share(const struct smith_crew * crew, int n_threads, int n_cpus) {
    const uint64_t now     = smith_ticks();
    const uint64_t recent  = RECENT_US * smith_ticks_per_us();
    int            n_crews = 1;
    for (int i = 0; i < MAX_CREWS; i++) {
        const struct smith_crew * other = &crews[i];
        if (other != crew && atomic_load_explicit(&other->taken, memory_order_relaxed)) {
            const uint64_t seen = atomic_load_explicit(&other->seen, memory_order_relaxed);
            n_crews += atomic_load_explicit(&other->computing, memory_order_relaxed) || (seen > 0 && now - seen < recent);
        }
    }
    const int usable = n_cpus > 0 ? n_cpus : n_cpus_allowed();
    const int share  = usable / n_crews > 0 ? usable / n_crews : 1;
    return n_threads < share ? n_threads : share;
}

void smith_crew_end(struct smith_crew * crew) {
    if (crew != NULL) {
        atomic_store_explicit(&crew->seen, smith_ticks(), memory_order_relaxed);
        atomic_store_explicit(&crew->computing, false, memory_order_relaxed);
    }
}
