#include "threads.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { UNKNOWN = -1, UNSET = 0 };

static int users_word(void) {
    static atomic_int cached = UNKNOWN;
    int               n      = atomic_load_explicit(&cached, memory_order_relaxed);
    if (n == UNKNOWN) {
        const char * given  = getenv("OPENBLAS_NUM_THREADS");
        const long   parsed = given == NULL ? UNSET : strtol(given, NULL, 10);
        n                   = parsed > 0 && parsed <= 4096 ? (int) parsed : UNSET; // as OpenBLAS, which ignores others
        atomic_store_explicit(&cached, n, memory_order_relaxed);
    }
    return n;
}

void smith_openblas_set_num_threads(int n) {
    const int wanted = users_word();
    openblas_set_num_threads(wanted != UNSET ? wanted : n);
}
