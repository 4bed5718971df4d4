#include "nodes.h"

#include <stdint.h>
#include <string.h>

#include "ggml-backend.h"
#include "ggml.h"

// To meet costs the threads about a microsecond; one thread alone computes so many elements of a cheap operation in
// that time.
#define ALONE_ELEMENTS 4096
// The same for products: elements of the first matrix.
#define ALONE_WEIGHTS 8192
// Shorter key-value caches are not split among the threads by flash attention (its preparation does nothing then).
#define SPLIT_KV 512

// Operations without a barrier inside, the threads of which compute rows of the result. Any that is not known here
// is one where all threads must arrive, which is right for all.
static bool computes_rows(const struct ggml_tensor * node) {
    switch (node->op) {
        case GGML_OP_DUP:
        case GGML_OP_CPY:
        case GGML_OP_CONT:
        case GGML_OP_ADD:
        case GGML_OP_ADD_ID:
        case GGML_OP_SUB:
        case GGML_OP_MUL:
        case GGML_OP_DIV:
        case GGML_OP_SQR:
        case GGML_OP_SQRT:
        case GGML_OP_LOG:
        case GGML_OP_SIN:
        case GGML_OP_COS:
        case GGML_OP_SUM_ROWS:
        case GGML_OP_MEAN:
        case GGML_OP_ARGMAX:
        case GGML_OP_REPEAT:
        case GGML_OP_CONCAT:
        case GGML_OP_NORM:
        case GGML_OP_RMS_NORM:
        case GGML_OP_L2_NORM:
        case GGML_OP_SCALE:
        case GGML_OP_GET_ROWS:
        case GGML_OP_SET_ROWS:
        case GGML_OP_SOFT_MAX:
        case GGML_OP_ROPE:
        case GGML_OP_CLAMP:
        case GGML_OP_ARGSORT:
        case GGML_OP_UNARY:
        case GGML_OP_GLU:
            return true;
        default:
            return false;
    }
}

// Other memory than the usual and repack's has kernels of its own, with barriers of its own (AMX, KleidiAI).
static bool in_known_memory(const struct ggml_tensor * weights) {
    const struct ggml_tensor * owner = weights->view_src != NULL ? weights->view_src : weights;
    if (owner->extra == NULL || owner->buffer == NULL) {
        return true;
    }
    const char * name = ggml_backend_buffer_name(owner->buffer);
    return strcmp(name, "CPU_REPACK") == 0;
}

// llamafile's kernels for these types share jobs. They may do so before the border, when nothing has to be converted.
static bool may_use_sgemm(const struct ggml_tensor * node) {
    const enum ggml_type type = node->src[0]->type;
    return node->op == GGML_OP_MUL_MAT && node->src[1]->ne[1] > 1 &&
           (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16);
}

// Whether the patched call sites number jobs through all slices: not in the kernels for RISC-V; and no more than an int
// can count.
static bool numbers_jobs(const struct ggml_tensor * node) {
#if defined(__riscv)
    (void) node;
    return false;
#else
    return ggml_nelements(node) < INT32_MAX / 2;
#endif
}

static enum smith_manner manner_of_product(const struct ggml_tensor * node) {
    if (ggml_nelements(node->src[0]) <= ALONE_WEIGHTS && ggml_nrows(node->src[1]) == 1) {
        return SMITH_ALONE;
    }
    if (!in_known_memory(node->src[0]) || (may_use_sgemm(node) && !numbers_jobs(node))) {
        return SMITH_GATHER;
    }
    if (may_use_sgemm(node) || ggml_nelements(node->src[1]) > ALONE_ELEMENTS) {
        return SMITH_SHARE;
    }
    return node->op == GGML_OP_MUL_MAT ? SMITH_MATRIX : SMITH_READY;
}

// The weights' type decides into what the activations are quantised; their memory, by whose code.
bool smith_same_preparation(const struct ggml_tensor * node, const struct ggml_tensor * other) {
    const struct ggml_tensor * a = node->src[0];
    const struct ggml_tensor * b = other->src[0];
    return node->src[1] == other->src[1] && a->type == b->type && a->ne[0] == b->ne[0] &&
           (a->extra == NULL) == (b->extra == NULL) && a->view_src == NULL && b->view_src == NULL;
}

static bool overlap(const struct ggml_tensor * a, const struct ggml_tensor * b) {
    const char * const start_a = a->data;
    const char * const start_b = b->data;
    return start_a < start_b + ggml_nbytes(b) && start_b < start_a + ggml_nbytes(a);
}

static bool writes_source(const struct ggml_tensor * node, const struct ggml_tensor * other) {
    for (int i = 0; i < GGML_MAX_SRC && other->src[i] != NULL; i++) {
        if (overlap(node, other->src[i])) {
            return true;
        }
    }
    return false;
}

bool smith_independent(const struct ggml_tensor * node, const struct ggml_tensor * other) {
    return !overlap(node, other) && !writes_source(node, other) && !writes_source(other, node);
}

static enum smith_manner manner_of_attention(const struct ggml_tensor * node) {
    const struct ggml_tensor * queries = node->src[0];
    const struct ggml_tensor * keys    = node->src[1];
    return queries->ne[1] > 1 || keys->ne[1] < SPLIT_KV ? SMITH_READY : SMITH_SHARE;
}

enum smith_manner smith_manner_of(const struct ggml_tensor * node) {
    switch (node->op) {
        case GGML_OP_NONE:
        case GGML_OP_RESHAPE:
        case GGML_OP_VIEW:
        case GGML_OP_PERMUTE:
        case GGML_OP_TRANSPOSE:
            return SMITH_SKIP;
        case GGML_OP_MUL_MAT:
        case GGML_OP_MUL_MAT_ID:
            return (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0 ? SMITH_SKIP : manner_of_product(node);
        case GGML_OP_FLASH_ATTN_EXT:
            return (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0 ? SMITH_SKIP : manner_of_attention(node);
        default:
            break;
    }
    if ((node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0) {
        return SMITH_SKIP;
    }
    if (!computes_rows(node)) {
        return SMITH_GATHER;
    }
    return ggml_nrows(node) == 1 || ggml_nelements(node) <= ALONE_ELEMENTS ? SMITH_ALONE : SMITH_SHARE;
}
