// How many threads OpenBLAS uses. Included before every source of the backend openblas (-include), so that a call of
// openblas_set_num_threads() in ggml's code is one of ours.
#pragma once

#include <cblas.h>

#ifdef __cplusplus
extern "C" {
#endif

// What the user has set OPENBLAS_NUM_THREADS to; 0: nothing, or no number of threads.
int smith_openblas_asked(void);

// Sets the number of threads to n, unless the user has set OPENBLAS_NUM_THREADS: then to that.
void smith_openblas_set_num_threads(int n);

#ifdef __cplusplus
}
#endif

#ifndef SMITH_OPENBLAS_ITSELF
#    undef openblas_set_num_threads
#    define openblas_set_num_threads smith_openblas_set_num_threads
#endif
