// Products that can be computed together, in one step.
#pragma once

struct ggml_threadpool;

#define SMITH_GROUP 4

// Finds the products that may be computed together with the one at `node`: they quantise the same activations alike, and
// nothing between depends on them, or they on it. Fills `group`, the first of which is `node`; returns how many.
int smith_group_of(struct ggml_threadpool * threadpool, int node, int n_nodes, int group[SMITH_GROUP]);
