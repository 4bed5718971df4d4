#include "group.h"

#include <stdbool.h>

#include "nodes.h"
#include "steps.h"

// How many nodes are looked at: Q, K and V have rotations, norms and views among them.
#define WINDOW 16

// Whether the product at `later` may be computed as early as `node`.
static bool may_go_first(struct ggml_threadpool * threadpool, int node, int later) {
    const struct ggml_tensor * product = ggml_threadpool_smith_node(threadpool, later);
    for (int i = node; i < later; i++) {
        const struct ggml_tensor * other = ggml_threadpool_smith_node(threadpool, i);
        if (smith_manner_of(other) != SMITH_SKIP && !smith_independent(product, other)) {
            return false;
        }
    }
    return true;
}

int smith_group_of(struct ggml_threadpool * threadpool, int node, int n_nodes, int group[SMITH_GROUP]) {
    const struct ggml_tensor * first = ggml_threadpool_smith_node(threadpool, node);
    const int                  end   = n_nodes - node < WINDOW ? n_nodes : node + WINDOW;
    int                        n     = 1;
    group[0]                         = node;
    for (int i = node + 1; i < end && n < SMITH_GROUP; i++) {
        const struct ggml_tensor * other  = ggml_threadpool_smith_node(threadpool, i);
        const enum smith_manner    manner = smith_manner_of(other);
        if (manner == SMITH_MATRIX && smith_same_preparation(other, first) && may_go_first(threadpool, node, i)) {
            group[n++] = i;
        } else if (manner != SMITH_SKIP && manner != SMITH_ALONE) {
            break; // a step of its own: what was computed before its time is behind us when the next group is looked for
        }
    }
    return n;
}
