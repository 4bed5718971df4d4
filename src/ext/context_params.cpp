#include "context_params.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

#include "abort_guard.hpp"
#include "errors.hpp"
#include "log.hpp"
#include "named.hpp"
#include "pool.hpp"

namespace smith {

namespace {

// Larger batches only cost memory: the compute buffers grow with them.
constexpr int64_t max_batch = 65536;
constexpr int64_t max_ctx   = INT32_MAX;

constexpr ggml_type kv_types[] = { GGML_TYPE_F32,  GGML_TYPE_F16,    GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
                                   GGML_TYPE_Q4_1, GGML_TYPE_IQ4_NL, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1 };

constexpr Named<llama_flash_attn_type> flash_attn[] = { { "auto", LLAMA_FLASH_ATTN_TYPE_AUTO },
                                                        { "on", LLAMA_FLASH_ATTN_TYPE_ENABLED },
                                                        { "off", LLAMA_FLASH_ATTN_TYPE_DISABLED } };

constexpr Named<enum llama_pooling_type> pooling_types[] = { { "unspecified", LLAMA_POOLING_TYPE_UNSPECIFIED },
                                                             { "none", LLAMA_POOLING_TYPE_NONE },
                                                             { "mean", LLAMA_POOLING_TYPE_MEAN },
                                                             { "cls", LLAMA_POOLING_TYPE_CLS },
                                                             { "last", LLAMA_POOLING_TYPE_LAST },
                                                             { "rank", LLAMA_POOLING_TYPE_RANK } };

constexpr Named<llama_attention_type> attention_types[] = { { "unspecified", LLAMA_ATTENTION_TYPE_UNSPECIFIED },
                                                            { "causal", LLAMA_ATTENTION_TYPE_CAUSAL },
                                                            { "non_causal", LLAMA_ATTENTION_TYPE_NON_CAUSAL } };

constexpr Named<llama_rope_scaling_type> rope_scaling_types[] = {
    { "unspecified", LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED }, { "none", LLAMA_ROPE_SCALING_TYPE_NONE },
    { "linear", LLAMA_ROPE_SCALING_TYPE_LINEAR },           { "yarn", LLAMA_ROPE_SCALING_TYPE_YARN },
    { "longrope", LLAMA_ROPE_SCALING_TYPE_LONGROPE },
};

uint32_t count(const char * name, int64_t value, int64_t low, int64_t high) {
    return static_cast<uint32_t>(in_range(name, value, low, high));
}

ggml_type kv_type(const char * option, const std::string & name) {
    std::string allowed;
    for (const ggml_type type : kv_types) {
        if (name == ggml_type_name(type)) {
            return type;
        }
        allowed += (allowed.empty() ? "" : ", ") + std::string(ggml_type_name(type));
    }
    throw Error("InvalidOption", std::string(option) + " is '" + name + "'. Allowed: " + allowed + ".");
}

// Bytes that Linux can give without killing somebody; 0 if it does not say.
double available_memory() {
    double       total = 0;
    std::FILE *  file  = std::fopen("/proc/meminfo", "r");
    if (file == nullptr) {
        return 0;
    }
    char line[128];
    while (std::fgets(line, sizeof(line), file) != nullptr) {
        double kilobytes = 0;
        if (std::sscanf(line, "MemAvailable: %lf", &kilobytes) == 1 ||
            std::sscanf(line, "SwapFree: %lf", &kilobytes) == 1) {
            total += kilobytes * 1024;
        }
    }
    std::fclose(file);
    return total;
}

// The KV cache is written when it is made: with overcommitted memory, one that does not fit is not refused but gets
// some process killed.
void need_memory(const Model & model, double n_ctx, ggml_type type_k, ggml_type type_v) {
    const llama_model * m = model.get();
    const int32_t       n_head = llama_model_n_head(m);
    if (n_head <= 0) {
        return;  // no attention, no cache that grows with n_ctx
    }
    const double values = static_cast<double>(llama_model_n_embd(m)) / n_head * llama_model_n_head_kv(m);
    const auto   bytes  = [](ggml_type type) { return static_cast<double>(ggml_type_size(type)) / static_cast<double>(ggml_blck_size(type)); };
    const double needed = n_ctx * llama_model_n_layer(m) * values * (bytes(type_k) + bytes(type_v));
    const double free   = available_memory();
    if (free > 0 && needed > free) {
        throw Error("NotEnoughMemory", "n_ctx=" + std::to_string(static_cast<int64_t>(n_ctx)) + " needs about " +
                                           std::to_string(static_cast<int64_t>(needed / 1048576)) + " MiB for the KV cache; " +
                                           std::to_string(static_cast<int64_t>(free / 1048576)) +
                                           " MiB are free. Use a smaller n_ctx, or a smaller type_k and type_v.");
    }
}

}  // namespace

const char * pooling_name(enum llama_pooling_type type) {
    return name_of(type, pooling_types);
}

llama_context_params context_params(const Model & model, const ContextOptions & options) {
    if (model.vocab_only()) {
        throw Error("InvalidOption", model.path() + " was loaded with vocab_only=True and has no weights to run.");
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx                = count("n_ctx", options.n_ctx, 0, max_ctx);
    const int32_t trained = llama_model_n_ctx_train(model.get());
    if (params.n_ctx == 0 && trained <= 0) {
        throw Error("InvalidOption", model.path() + " does not say how many tokens it was trained for. Give n_ctx.");
    }
    params.n_batch              = count("n_batch", options.n_batch, 1, max_batch);
    params.n_ubatch             = count("n_ubatch", options.n_ubatch, 1, max_batch);
    params.n_seq_max = count("n_seq_max", options.n_seq_max, 1, static_cast<int64_t>(llama_max_parallel_sequences()));
    params.n_rs_seq  = count("n_rs_seq", options.n_rs_seq, 0, 64);
    // Each output costs a row of the vocabulary's size: by default only the last token's logits can be read.
    params.n_outputs_max         = count("n_outputs_max", options.n_outputs_max, 1, max_batch);
    const uint32_t of_ctx = params.n_ctx == 0 ? static_cast<uint32_t>(trained) : params.n_ctx;
    const uint32_t room   = std::min({ params.n_batch, params.n_ubatch, of_ctx });
    if (room < params.n_seq_max) {  // upstream would end the process
        throw Error("InvalidOption", "n_seq_max is " + std::to_string(params.n_seq_max) + ", n_ctx " +
                                         std::to_string(params.n_ctx) + ", n_batch " + std::to_string(params.n_batch) +
                                         " and n_ubatch " + std::to_string(params.n_ubatch) + ". A batch must have room "
                                         "for a token of each sequence: use larger ones.");
    }
    params.n_outputs_max = std::max(params.n_outputs_max, params.n_seq_max);
    params.n_outputs_max_per_seq = 0;
    params.flash_attn_type       = named("flash_attn", options.flash_attn, flash_attn);
    params.type_k                = kv_type("type_k", options.type_k);
    params.type_v                = kv_type("type_v", options.type_v);
    params.pooling_type          = named("pooling_type", options.pooling_type, pooling_types);
    params.attention_type        = named("attention_type", options.attention_type, attention_types);
    params.rope_scaling_type     = named("rope_scaling_type", options.rope_scaling_type, rope_scaling_types);
    const auto real = [](const char * name, double value, float low) {
        return in_range(name, static_cast<float>(value), low, 1e9f);
    };
    params.rope_freq_base   = real("rope_freq_base", options.rope_freq_base, 0.0f);
    params.rope_freq_scale  = real("rope_freq_scale", options.rope_freq_scale, 0.0f);
    params.yarn_ext_factor  = real("yarn_ext_factor", options.yarn_ext_factor, -1.0f);
    params.yarn_attn_factor = real("yarn_attn_factor", options.yarn_attn_factor, -1.0f);
    params.yarn_beta_fast   = real("yarn_beta_fast", options.yarn_beta_fast, -1.0f);
    params.yarn_beta_slow   = real("yarn_beta_slow", options.yarn_beta_slow, -1.0f);
    params.yarn_orig_ctx    = count("yarn_orig_ctx", options.yarn_orig_ctx, 0, max_ctx);
    params.embeddings       = options.embeddings;
    params.offload_kqv      = options.offload_kqv;
    params.op_offload       = options.op_offload;
    params.swa_full         = options.swa_full;
    params.kv_unified       = options.kv_unified;
    params.no_perf          = options.no_perf;
    if (options.embeddings) {
        params.n_outputs_max = params.n_batch;  // upstream then outputs every token
    }
    if (ggml_is_quantized(params.type_v) && params.flash_attn_type == LLAMA_FLASH_ATTN_TYPE_DISABLED) {
        throw Error("InvalidOption", "type_v='" + options.type_v + "' needs flash attention. Use flash_attn='on' or "
                                     "'auto', or type_v='f16'.");
    }
    if (!model.no_alloc()) {
        need_memory(model, params.n_ctx == 0 ? trained : params.n_ctx, params.type_k, params.type_v);
    }
    return params;
}

llama_context * make_context(const Model & model, const llama_context_params & params) {
    const Servers::Turn turn(model.servers());
    model.servers().check();
    take_complaints();
    std::string why;
    try {
        const AbortGuard guard;  // it plans a graph, which a model of an odd shape does not survive
        llama_context *  context = llama_init_from_model(model.get(), params);
        if (context != nullptr) {
            return context;  // of a server that is lost by now, the first batch will tell
        }
    } catch (const std::exception & error) {
        why = error.what();
    }
    model.servers().check();
    const std::string complaints = take_complaints();
    if (complaints.find("a tensor that the graph needs is not in the model") != std::string::npos) {
        throw Error("InvalidModel", model.path() + " lacks a tensor that models of the architecture '" +
                                        model.metadata("general.architecture") +
                                        "' compute with. The file is not sound: fetch or convert it anew.\n" + complaints);
    }
    throw Error("InvalidOption", "llama.cpp cannot make a context with these options: " +
                                     (complaints.empty() ? why : complaints));
}

}  // namespace smith
