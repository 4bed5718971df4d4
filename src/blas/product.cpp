#include "blas/product.h"

#include <cblas.h>

#include <algorithm>
#include <atomic>

#include "blas/engine.h"
#include "blas/threads.h"
#include "blas/widen.h"
#include "ggml.h"

namespace {

// Rows of weights that a thread takes at a time: enough that packing the activations anew for each panel does not show,
// and several panels for each thread, so that one that is late holds up nobody for long.
constexpr int64_t PANELS_PER_THREAD = 2;
constexpr int64_t LEAST_ROWS        = 32;
// Widened, a panel stays in the cache between being written and being packed by sgemm.
constexpr int64_t PANEL_BYTES = 1 << 20;

struct product {
    const ggml_tensor *  dst;
    int64_t              rows;   // of a panel
    int64_t              panels; // of one matrix
    int64_t              total;  // of all matrices
    std::atomic<int64_t> next{0};
    std::atomic<bool>    failed{false};
};

// A thread's own, kept from one product to the next; ended with the thread.
struct buffer {
    float * data = nullptr;
    size_t  size = 0;

    float * at_least(size_t wanted) {
        if (size < wanted) {
            std::free(data);
            data = static_cast<float *>(std::malloc(wanted * sizeof(float)));
            size = data == nullptr ? 0 : wanted;
        }
        return data;
    }

    ~buffer() { std::free(data); }
};

bool panel(const product & it, int64_t number) {
    const ggml_tensor * dst  = it.dst;
    const ggml_tensor * src0 = dst->src[0];
    const ggml_tensor * src1 = dst->src[1];

    const int64_t first = number % it.panels * it.rows;
    const int64_t rows  = std::min(it.rows, src0->ne[1] - first);
    const int64_t i2    = number / it.panels % dst->ne[2];
    const int64_t i3    = number / it.panels / dst->ne[2];
    const int64_t k     = src0->ne[0];

    // broadcast: several matrices of src1 share one of src0
    const char * x = (const char *) src0->data + i2 / (dst->ne[2] / src0->ne[2]) * src0->nb[2] +
                     i3 / (dst->ne[3] / src0->ne[3]) * src0->nb[3] + first * src0->nb[1];
    const char * y = (const char *) src1->data + i2 * src1->nb[2] + i3 * src1->nb[3];
    char *       d = (char *) dst->data + i2 * dst->nb[2] + i3 * dst->nb[3];

    const float * weights = reinterpret_cast<const float *>(x);
    if (src0->type != GGML_TYPE_F32) {
        static thread_local buffer own;
        float *                    wide = own.at_least(rows * k);
        if (wide == nullptr) {
            return false;
        }
        for (int64_t row = 0; row < rows; row++) {
            smith_widen(src0->type, x + row * src0->nb[1], wide + row * k, k);
        }
        weights = wide;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, dst->ne[1], rows, k, 1.0f,
                reinterpret_cast<const float *>(y), src1->nb[1] / sizeof(float), weights, k, 0.0f,
                reinterpret_cast<float *>(d) + first, dst->nb[1] / sizeof(float));
    return true;
}

// Who is free takes the next panel.
void work(struct ggml_tensor * node, int ith, int nth, void * data) {
    product & it = *static_cast<product *>(data);
    for (int64_t number; (number = it.next.fetch_add(1, std::memory_order_relaxed)) < it.total;) {
        if (!panel(it, number)) {
            it.failed.store(true, std::memory_order_relaxed);
        }
    }
    GGML_UNUSED(node);
    GGML_UNUSED(ith);
    GGML_UNUSED(nth);
}

// The user's word on how many threads compute in OpenBLAS, else llama.cpp's.
int threads(int n_threads) {
    const int asked = smith_openblas_asked();
    return std::max(asked != 0 ? asked : n_threads, 1);
}

} // namespace

bool smith_blas_mul_mat(struct ggml_tensor * dst, int n_threads) {
    const ggml_tensor * src0  = dst->src[0];
    const int64_t       m     = src0->ne[1];
    const int64_t       share = PANELS_PER_THREAD * threads(n_threads);

    product it;
    it.dst  = dst;
    it.rows = std::max((m + share - 1) / share, LEAST_ROWS);
    if (src0->type != GGML_TYPE_F32) {
        it.rows = std::min(it.rows, std::max<int64_t>(PANEL_BYTES / sizeof(float) / src0->ne[0], LEAST_ROWS));
    }
    it.rows   = (it.rows + 15) / 16 * 16; // whole tiles of OpenBLAS's kernels
    it.panels = (m + it.rows - 1) / it.rows;
    it.total  = it.panels * dst->ne[2] * dst->ne[3];

    // Calls of a thread of OpenBLAS's own would fight with the pool's for the CPUs.
    openblas_set_num_threads(1);
    return smith_engine_run(threads(n_threads), work, &it) && !it.failed.load(std::memory_order_relaxed);
}
