// How a node of the graph is to be computed.
#pragma once

#include <stdbool.h>

struct ggml_threadpool;
struct ggml_tensor;

enum smith_manner {
    SMITH_SKIP,    // nothing to compute
    SMITH_ALONE,   // too small to share: one thread, in one piece
    SMITH_SHARE,   // pieces
    SMITH_READY,   // pieces, after a preparation that is too small to share, but is done piece by piece
    SMITH_MATRIX,  // pieces, after a preparation that is too small to share, and the same in one piece: a product
    SMITH_GATHER,  // has barriers that are no phase borders: all active threads must arrive
};

enum smith_manner smith_manner_of(const struct ggml_tensor * node);

// Whether the preparation of one product is that of another too: they quantise the same activations alike.
bool smith_same_preparation(const struct ggml_tensor * node, const struct ggml_tensor * other);

// Whether two nodes may be computed in any order, or at once: neither writes what the other reads or writes.
bool smith_independent(const struct ggml_tensor * node, const struct ggml_tensor * other);
