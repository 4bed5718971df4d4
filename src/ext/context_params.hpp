// From a user's options to a llama_context, with the checks that upstream lacks or answers by ending the process.
#pragma once

#include <cstdint>
#include <string>

#include "llama.h"
#include "model.hpp"

namespace smith {

struct ContextOptions {
    int64_t     n_ctx                 = 0;  // 0: what the model was trained with; of all sequences together
    int64_t     n_batch               = 2048;
    int64_t     n_ubatch              = 512;
    int64_t     n_seq_max             = 1;
    int64_t     n_rs_seq              = 0;
    int64_t     n_outputs_max         = 1;  // tokens of one batch whose logits can be had
    std::string flash_attn            = "auto";
    std::string type_k                = "f16";
    std::string type_v                = "f16";
    std::string pooling_type          = "unspecified";
    std::string attention_type        = "unspecified";
    std::string rope_scaling_type     = "unspecified";
    double      rope_freq_base        = 0;  // 0: the model's
    double      rope_freq_scale       = 0;
    double      yarn_ext_factor       = -1;  // negative: the model's
    double      yarn_attn_factor      = -1;
    double      yarn_beta_fast        = -1;
    double      yarn_beta_slow        = -1;
    int64_t     yarn_orig_ctx         = 0;
    bool        embeddings            = false;
    bool        offload_kqv           = true;
    bool        op_offload            = true;
    bool        swa_full              = true;
    bool        kv_unified            = false;
    bool        no_perf               = true;
    // Without a pool: the engine makes so many threads for every graph, and ends them after it.
    int64_t n_threads       = 1;
    int64_t n_threads_batch = 1;
};

// Throws InvalidOption or NotEnoughMemory.
llama_context_params context_params(const Model & model, const ContextOptions & options);

// Never nullptr: throws InvalidOption with what llama.cpp complained of.
llama_context * make_context(const Model & model, const llama_context_params & params);

const char * pooling_name(enum llama_pooling_type type);

}  // namespace smith
