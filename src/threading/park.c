#include "park.h"

#if defined(__linux__) && !defined(SMITH_PARK_PORTABLE)

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

// The kernel compares the word with `old` under its own lock, so a change between the caller's last look and the
// sleep is never missed. Private: the word is not shared with other processes.
void smith_park(atomic_int * word, int old) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
}

void smith_unpark_all(atomic_int * word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#else

#include <pthread.h>

// One lock for all words: parking is the slow path, and a wake-up that reaches a stranger only makes it look again.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  cond  = PTHREAD_COND_INITIALIZER;

void smith_park(atomic_int * word, int old) {
    pthread_mutex_lock(&mutex);
    if (atomic_load_explicit(word, memory_order_seq_cst) == old) {
        pthread_cond_wait(&cond, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

void smith_unpark_all(atomic_int * word) {
    (void) word;
    pthread_mutex_lock(&mutex); // the sleeper is either before its look at the word, or already asleep
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&mutex);
}

#endif
