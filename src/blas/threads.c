#include "threads.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { UNKNOWN = -1, UNSET = 0 };

int smith_openblas_asked(void) {
    static atomic_int cached = UNKNOWN;
    int               n      = atomic_load_explicit(&cached, memory_order_relaxed);
    if (n == UNKNOWN) {
        // Others are ignored, as OpenBLAS does; ggml's pools end at 512.
        const char * given  = getenv("OPENBLAS_NUM_THREADS");
        const long   parsed = given == NULL ? UNSET : strtol(given, NULL, 10);
        n                   = parsed > 0 && parsed <= 512 ? (int) parsed : UNSET;
        atomic_store_explicit(&cached, n, memory_order_relaxed);
    }
    return n;
}

void smith_openblas_set_num_threads(int n) {
    const int wanted = smith_openblas_asked();
    openblas_set_num_threads(wanted != UNSET ? wanted : n);
}
