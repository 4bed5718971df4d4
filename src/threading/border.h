// The phase border: what a patched operation calls instead of a barrier in its middle. C and C++.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

struct ggml_threadpool;

// Whether this call of the operation is to do what comes before its border.
int smith_prepares(void);

// The border itself. Returns 0 if this call ends here: the rest is done by another call, when all have prepared.
int smith_border(struct ggml_threadpool * threadpool);

#ifdef __cplusplus
}
#endif
