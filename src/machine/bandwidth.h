// How fast memory can be read: the roof under which generation works, for every token reads all weights once.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Bytes per second that n_threads threads read together, each from its own part of n_bytes: the best of several passes
// within `seconds`, for whatever else runs on the machine can only make a pass slower. Returns a negative number where
// memory or threads cannot be had. n_bytes is to be several times the last-level cache.
double smith_read_bandwidth(int n_threads, size_t n_bytes, double seconds);

#ifdef __cplusplus
}
#endif
