#include "workload.hpp"

#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

namespace {

constexpr int64_t WIDTH   = 64;
constexpr int64_t HEAD    = 32;
constexpr int64_t CACHED  = 512;  // from here on, flash attention divides the cache between threads and has a barrier
constexpr int64_t EXPERTS = 4;
constexpr int64_t CHOSEN  = 2;
constexpr int64_t TABLE   = 16;
constexpr int     LAYERS  = 2;

// Null where the CPU has no order of its own for Q4_0.
ggml_backend_buffer_type_t repacking_buffers() {
    ggml_backend_reg_t                 reg = ggml_backend_cpu_reg();
    ggml_backend_dev_get_extra_bufts_t get = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts"));
    ggml_backend_dev_t dev = ggml_backend_reg_dev_get(reg, 0);
    for (ggml_backend_buffer_type_t * type = get(dev); *type != nullptr; type++) {
        if (std::strcmp(ggml_backend_buft_name(*type), "CPU_REPACK") == 0) {
            return *type;
        }
    }
    return nullptr;
}

}  // namespace

ggml_tensor * Workload::weight(ggml_context * ctx, ggml_type type, int64_t rows, int64_t matrices) {
    weights_.push_back(matrices == 1 ? ggml_new_tensor_2d(ctx, type, WIDTH, rows) :
                                       ggml_new_tensor_3d(ctx, type, WIDTH, rows, matrices));
    return weights_.back();
}

ggml_tensor * Workload::layer(ggml_tensor * x) {
    const int64_t heads = WIDTH / HEAD;

    ggml_tensor * h = ggml_mul(ctx_, ggml_rms_norm(ctx_, x, 1e-5f), weight(ctx_, GGML_TYPE_F32, 1));
    ggml_tensor * q = ggml_mul_mat(ctx_, weight(repacked_, GGML_TYPE_Q4_0, WIDTH), h);
    ggml_tensor * k = ggml_mul_mat(ctx_, weight(ctx_, GGML_TYPE_F16, WIDTH), h);
    ggml_tensor * v = ggml_mul_mat(ctx_, weight(ctx_, GGML_TYPE_F32, WIDTH), h);
    ggml_tensor * s = ggml_mul(ctx_, ggml_soft_max(ctx_, ggml_add(ctx_, q, k)), v);
    x               = ggml_add(ctx_, x, ggml_scale(ctx_, s, 0.5f));

    ggml_tensor * cache_k = ggml_new_tensor_3d(ctx_, GGML_TYPE_F16, HEAD, CACHED, heads);
    ggml_tensor * cache_v = ggml_new_tensor_3d(ctx_, GGML_TYPE_F16, HEAD, CACHED, heads);
    weights_.insert(weights_.end(), { cache_k, cache_v });
    ggml_tensor * query = ggml_permute(ctx_, ggml_reshape_3d(ctx_, q, HEAD, heads, n_tokens_), 0, 2, 1, 3);
    ggml_tensor * seen  = ggml_flash_attn_ext(ctx_, query, cache_k, cache_v, nullptr, 1.0f / std::sqrt(HEAD), 0, 0);
    x                   = ggml_add(ctx_, x, ggml_reshape_2d(ctx_, seen, WIDTH, n_tokens_));

    ggml_tensor * experts = weight(ctx_, GGML_TYPE_Q4_0, WIDTH, EXPERTS);
    ggml_tensor * mixed   = ggml_mul_mat_id(ctx_, experts, ggml_reshape_3d(ctx_, x, WIDTH, 1, n_tokens_), ids_);
    ggml_tensor * one     = ggml_view_2d(ctx_, mixed, WIDTH, n_tokens_, mixed->nb[2], 0);
    ggml_tensor * other   = ggml_view_2d(ctx_, mixed, WIDTH, n_tokens_, mixed->nb[2], mixed->nb[1]);
    x                     = ggml_add(ctx_, x, ggml_add(ctx_, one, other));
    return ggml_add(ctx_, x, ggml_mul_mat(ctx_, weight(ctx_, GGML_TYPE_Q4_0, WIDTH), x));
}

Workload::Workload(int n_tokens) : n_tokens_(n_tokens) {
    const ggml_init_params params = { ggml_tensor_overhead() * 256 + ggml_graph_overhead(), nullptr, true };
    ctx_                          = ggml_init(params);
    repacked_                     = ggml_init(params);
    ids_                          = ggml_new_tensor_2d(ctx_, GGML_TYPE_I32, CHOSEN, n_tokens);
    rows_                         = ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, n_tokens);

    ggml_tensor * x = ggml_get_rows(ctx_, weight(ctx_, GGML_TYPE_F32, TABLE), rows_);
    for (int i = 0; i < LAYERS; i++) {
        x = layer(x);
    }
    out_   = x;
    graph_ = ggml_new_graph(ctx_);
    ggml_build_forward_expand(graph_, out_);

    ggml_backend_buffer_type_t plain = ggml_backend_cpu_buffer_type();
    ggml_backend_buffer_type_t other = repacking_buffers();
    buffers_[0]                      = ggml_backend_alloc_ctx_tensors_from_buft(ctx_, plain);
    buffers_[1] = ggml_backend_alloc_ctx_tensors_from_buft(repacked_, other != nullptr ? other : plain);
    if (buffers_[0] == nullptr || buffers_[1] == nullptr) {
        throw std::runtime_error("no memory for the workload");
    }
    fill();
}

Workload::~Workload() {
    ggml_backend_buffer_free(buffers_[0]);
    ggml_backend_buffer_free(buffers_[1]);
    ggml_free(repacked_);
    ggml_free(ctx_);
}

void Workload::fill() {
    std::mt19937                          random(7);  // always the same values: results are compared bit for bit
    std::uniform_real_distribution<float> value(-0.5f, 0.5f);
    for (ggml_tensor * tensor : weights_) {
        std::vector<float> values(static_cast<size_t>(ggml_nelements(tensor)));
        for (float & v : values) {
            v = value(random);
        }
        std::vector<uint8_t> bytes(ggml_nbytes(tensor));
        if (tensor->type == GGML_TYPE_F32) {
            std::memcpy(bytes.data(), values.data(), bytes.size());
        } else {
            const int64_t rows = ggml_nrows(tensor);
            ggml_quantize_chunk(tensor->type, values.data(), bytes.data(), 0, rows, tensor->ne[0], nullptr);
        }
        ggml_backend_tensor_set(tensor, bytes.data(), 0, bytes.size());
    }
    std::vector<int32_t> ids, rows;
    for (int i = 0; i < n_tokens_; i++) {
        ids.push_back(i % EXPERTS);
        ids.push_back((i + 1 + i / EXPERTS % (EXPERTS - 1)) % EXPERTS);
        rows.push_back(i * 3 % TABLE);
    }
    ggml_backend_tensor_set(ids_, ids.data(), 0, ggml_nbytes(ids_));
    ggml_backend_tensor_set(rows_, rows.data(), 0, ggml_nbytes(rows_));
}

ggml_status Workload::compute(ggml_threadpool * pool, int n_threads, ggml_abort_callback abort, void * data) {
    ggml_cplan plan = ggml_graph_plan(graph_, n_threads, pool);
    work_.resize(plan.work_size);
    plan.work_data           = work_.data();
    plan.abort_callback      = abort;
    plan.abort_callback_data = data;
    std::memset(out_->data, 0xff, ggml_nbytes(out_));  // the last result must not pass for this one
    return ggml_graph_compute(graph_, &plan);
}

std::vector<uint8_t> Workload::result() const {
    const auto * bytes = static_cast<const uint8_t *>(out_->data);
    return { bytes, bytes + ggml_nbytes(out_) };
}
