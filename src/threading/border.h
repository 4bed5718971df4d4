// What patched operations call where upstream has a barrier, or a loop in which threads share jobs. C and C++.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ggml_threadpool;

// Whether this call of the operation is to do what comes before its border.
int smith_prepares(void);

// The border itself. Returns 0 if this call ends here: the rest is done by another call, when all have prepared.
int smith_border(struct ggml_threadpool * threadpool);

// Whether this call is a piece of a step: then nobody else need be in the operation now, and it must not meet others.
bool smith_in_step(void);

// Jobs are what upstream calls chunks: a thread begins with the one of its number, then takes what no one has. In a step
// their numbers go on from loop to loop, through the slices of a product and through the products of a group, and so does
// a job that a thread has taken in one loop and that belongs to the next: hence none of the barriers at which upstream
// begins to count anew. Both return the number in the present loop; from `n_jobs` on the loop is over.
int64_t smith_first_job(int ith, int64_t n_jobs);
int64_t smith_next_job(struct ggml_threadpool * threadpool);

#ifdef __cplusplus
}
#endif
