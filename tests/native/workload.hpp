// A small graph with every way in which threads of a pool meet: barriers between nodes, barriers and claimed chunks
// inside of nodes (mul_mat of four kinds, mul_mat_id, flash attention), nodes for one thread, a fused pair.
#pragma once

#include <cstdint>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

// One per computing thread: a graph's tensors are written while it is computed. All of one shape hold the same values.
class Workload {
  public:
    explicit Workload(int n_tokens);
    ~Workload();
    Workload(const Workload &)             = delete;
    Workload & operator=(const Workload &) = delete;

    int n_tokens() const { return n_tokens_; }
    int n_nodes() const { return ggml_graph_n_nodes(graph_); }

    // Computes with `pool`, or with none attached. `abort` is asked after each node.
    ggml_status compute(ggml_threadpool * pool, int n_threads, ggml_abort_callback abort = nullptr,
                        void * data = nullptr);

    std::vector<uint8_t> result() const;

  private:
    ggml_tensor * weight(ggml_context * ctx, ggml_type type, int64_t rows, int64_t matrices = 1);
    ggml_tensor * layer(ggml_tensor * x);
    void          fill();

    int                       n_tokens_;
    ggml_context *            ctx_      = nullptr;
    ggml_context *            repacked_ = nullptr;  // weights that the engine keeps in an order of its own
    ggml_backend_buffer_t     buffers_[2] = {};
    ggml_cgraph *             graph_ = nullptr;
    ggml_tensor *             out_   = nullptr;
    ggml_tensor *             ids_   = nullptr;  // two experts for each token
    ggml_tensor *             rows_  = nullptr;  // the row of the table that each token begins with
    std::vector<uint8_t>      work_;
    std::vector<ggml_tensor *> weights_;
};
