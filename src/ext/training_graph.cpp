// What ggml_build_backward_expand(), ggml_compute_backward() and the operations that they make assert, asked before.
#include "training_graph.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "errors.hpp"

namespace smith {

namespace {

// How the gradient of a node may lie in memory. A later one takes the place of an earlier one where several come
// together.
enum Layout { whole, rows, scattered };  // contiguous; only each row is; not even that

using Needed = std::unordered_set<const ggml_tensor *>;

[[noreturn]] void refuse(const ggml_tensor * node, const std::string & why) {
    throw Error("InvalidOption", "This model cannot be trained: the operation " + std::string(ggml_op_desc(node)) + " ('" +
                                     node->name + "') " + why +
                                     " in llama.cpp. Train weights behind it alone (param_filter), or another model.");
}

void need(bool ok, const ggml_tensor * node, const char * why) {
    if (!ok) {
        refuse(node, why);
    }
}

// Sources that gradients do not go to, whatever they are.
bool is_ignored(const ggml_tensor * node, int source) {
    switch (node->op) {
        case GGML_OP_CPY:
        case GGML_OP_GET_ROWS:
        case GGML_OP_ROPE:
            return source == 1;
        default:
            return false;
    }
}

// The nodes that gradients may reach.
Needed find_needed(ggml_cgraph * graph) {
    Needed needed;
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        const ggml_tensor * node  = ggml_graph_node(graph, i);
        bool                reach = (node->flags & GGML_TENSOR_FLAG_PARAM) != 0;
        for (int j = 0; j < GGML_MAX_SRC && node->type != GGML_TYPE_I32; j++) {
            if (node->src[j] != nullptr && !is_ignored(node, j) && needed.count(node->src[j]) != 0) {
                need(node->src[j]->type == GGML_TYPE_F32 && node->type == GGML_TYPE_F32, node, "computes in another type than F32");
                reach = true;
            }
        }
        if (reach) {
            needed.insert(node);
        }
    }
    return needed;
}

void need_product(const ggml_tensor * node, const Needed & needed) {
    const ggml_tensor * a = node->src[0];
    const ggml_tensor * b = node->src[1];
    if (needed.count(a) != 0) {
        need(b->type == GGML_TYPE_F32 && b->nb[0] == sizeof(float) && !ggml_is_transposed(b), node, "has no gradient for such factors");
        need((a->ne[2] == b->ne[2] && a->ne[3] == b->ne[3]) || (b->ne[3] == 1 && a->ne[3] == 1), node, "has no gradient for such shapes");
    }
    if (needed.count(b) != 0) {
        const bool same = a->ne[2] == node->ne[2] && a->ne[3] == node->ne[3];
        need(a->type == GGML_TYPE_F32 || ((a->type == GGML_TYPE_F16 || ggml_is_quantized(a->type)) && same), node,
             "has no gradient through weights of this type");
        need(a->nb[0] == ggml_type_size(a->type) && !ggml_is_transposed(a), node, "has no gradient for such factors");
    }
}

// `layout` is that of the node's own gradient.
void need_backward(const ggml_tensor * node, const Needed & needed, Layout layout) {
    const auto wants = [&](int i) { return node->src[i] != nullptr && needed.count(node->src[i]) != 0; };
    const auto tidy  = [&](Layout most) { need(layout <= most, node, "has no gradient that lies in memory like this"); };
    const bool own   = node->view_src == nullptr;
    switch (node->op) {
        case GGML_OP_NONE:
        case GGML_OP_RESHAPE:
        case GGML_OP_PERMUTE:
        case GGML_OP_TRANSPOSE:
        case GGML_OP_SET_ROWS:  // into the cache: no gradient comes out of it
            return;
        case GGML_OP_VIEW: {  // its gradient is added to a tensor of zeros like the source, with 32-bit strides
            const ggml_tensor * source = node->src[0];
            need(ggml_is_contiguous(source) && source->view_src == nullptr && ggml_nbytes(source) <= INT32_MAX && node->nb[0] == sizeof(float),
                 node, "has no gradient for such views");
            return tidy(rows);
        }
        case GGML_OP_ADD:
            need(own, node, "is computed in place");
            return tidy(wants(1) && !ggml_are_same_shape(node->src[0], node->src[1]) ? rows : scattered);
        case GGML_OP_MUL:
            need(own, node, "is computed in place");
            return tidy(rows);
        case GGML_OP_SCALE:
        case GGML_OP_CONT:
            need(own, node, "is computed in place");
            return tidy(whole);
        case GGML_OP_RMS_NORM:
            need(own && node->src[0]->nb[0] == sizeof(float), node, "has no gradient for such operands");
            return tidy(rows);
        case GGML_OP_GET_ROWS:
            need(ggml_is_matrix(node) && ggml_is_matrix(node->src[0]) && ggml_is_vector(node->src[1]), node, "has no gradient for such shapes");
            return tidy(whole);
        case GGML_OP_MUL_MAT:
            return need_product(node, needed);
        case GGML_OP_ROPE:
            need(own && !wants(2), node, "has no gradient for such operands");
            return tidy(rows);
        case GGML_OP_SOFT_MAX: {
            float max_bias = 0;
            std::memcpy(&max_bias, node->op_params + 1, sizeof(float));
            need(own && !wants(1) && node->src[2] == nullptr && max_bias == 0, node, "has no gradient with ALiBi or sinks");
            return tidy(whole);
        }
        case GGML_OP_UNARY:
            need(own && ggml_get_unary_op(node) == GGML_UNARY_OP_SILU && ggml_is_contiguous(node->src[0]), node, "has no gradient");
            return tidy(whole);
        case GGML_OP_GLU:
            need(own && ggml_get_glu_op(node) == GGML_GLU_OP_SWIGLU && node->src[1] != nullptr && ggml_is_contiguous(node->src[0]) &&
                     ggml_is_contiguous(node->src[1]),
                 node, "has no gradient (split SWIGLU alone has)");
            return tidy(rows);
        default:
            refuse(node, "has no gradient");
    }
}

// The layout of the gradient that a node hands to its source `source`.
Layout handed_on(const ggml_tensor * node, int source, Layout layout) {
    switch (node->op) {
        case GGML_OP_PERMUTE:
            return node->op_params[0] == 0 && layout != scattered ? rows : scattered;
        case GGML_OP_TRANSPOSE:
            return scattered;
        case GGML_OP_ADD:
            return source == 0 || ggml_are_same_shape(node->src[0], node->src[1]) ? layout : whole;
        default:
            return whole;  // a tensor of its own
    }
}

}  // namespace

void check_trainable(ggml_cgraph * graph) {
    const Needed needed = find_needed(graph);
    const int    n      = ggml_graph_n_nodes(graph);
    const ggml_tensor * logits = ggml_graph_node(graph, n - 1);
    if (needed.count(logits) == 0 || !ggml_is_contiguous(logits) || !ggml_is_matrix(logits) || logits->op == GGML_OP_NONE) {
        throw Error("InvalidOption", "None of the chosen weights has a part in the logits of this model. Choose others with "
                                     "param_filter.");
    }
    std::unordered_map<const ggml_tensor *, Layout> layouts;
    Needed                                          viewed;
    for (int i = n - 1; i >= 0; i--) {
        const ggml_tensor * node = ggml_graph_node(graph, i);
        if (needed.count(node) == 0) {
            continue;
        }
        const auto   known  = layouts.find(node);
        const Layout layout = known == layouts.end() ? whole : known->second;
        need_backward(node, needed, layout);
        need(viewed.count(node) == 0 || layout == whole, node, "has no gradient that comes from views and from elsewhere");
        for (int j = 0; j < GGML_MAX_SRC; j++) {
            if (node->src[j] != nullptr && !is_ignored(node, j) && needed.count(node->src[j]) != 0) {
                if (node->op == GGML_OP_VIEW) {
                    viewed.insert(node->src[j]);
                }
                Layout & of_source = layouts.emplace(node->src[j], whole).first->second;
                of_source          = std::max(of_source, handed_on(node, j, layout));
            }
        }
    }
}

std::size_t step_bytes(ggml_cgraph * graph) {
    const int   n         = ggml_graph_n_nodes(graph);
    std::size_t bytes     = 0;
    std::size_t largest   = 0;  // a weight's gradient, before it is added to the others
    for (int i = 0; i < n; i++) {
        const ggml_tensor * node = ggml_graph_node(graph, i);
        if ((node->flags & GGML_TENSOR_FLAG_PARAM) != 0) {
            largest = std::max(largest, ggml_nbytes(node));
        } else if (node->view_src == nullptr) {
            bytes += ggml_nbytes(node);
        }
    }
    // Each result, and its gradient; of the logits also the labels and a copy for the loss.
    return 2 * bytes + 2 * ggml_nbytes(ggml_graph_node(graph, n - 1)) + largest;
}

}  // namespace smith
