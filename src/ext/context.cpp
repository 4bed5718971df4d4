#include "context.hpp"

#include <cstdio>
#include <exception>
#include <string>

#include "errors.hpp"
#include "log.hpp"
#include "session.hpp"

namespace smith {

namespace {

// Larger batches only cost memory: the compute buffers grow with them.
constexpr int64_t max_batch = 65536;
constexpr int64_t max_ctx   = INT32_MAX;

constexpr ggml_type kv_types[] = { GGML_TYPE_F32,  GGML_TYPE_F16,    GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
                                   GGML_TYPE_Q4_1, GGML_TYPE_IQ4_NL, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1 };

uint32_t in_range(const char * name, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
        throw Error("InvalidOption", std::string(name) + " is " + std::to_string(value) + ". Allowed: " +
                                         std::to_string(low) + " to " + std::to_string(high) + ".");
    }
    return static_cast<uint32_t>(value);
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

llama_flash_attn_type flash_attn(const std::string & name) {
    if (name == "auto") return LLAMA_FLASH_ATTN_TYPE_AUTO;
    if (name == "on")   return LLAMA_FLASH_ATTN_TYPE_ENABLED;
    if (name == "off")  return LLAMA_FLASH_ATTN_TYPE_DISABLED;
    throw Error("InvalidOption", "flash_attn is '" + name + "'. Allowed: auto, on, off.");
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

llama_context_params context_params(const Model & model, const SessionOptions & options) {
    if (model.vocab_only()) {
        throw Error("InvalidOption", model.path() + " was loaded with vocab_only=True and has no weights to run.");
    }
    if (llama_model_has_encoder(model.get()) || !llama_model_has_decoder(model.get())) {
        throw Error("InvalidOption", model.path() + " has an encoder; a Session runs decoder-only models.");
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx                = in_range("n_ctx", options.n_ctx, 0, max_ctx);
    params.n_batch              = in_range("n_batch", options.n_batch, 1, max_batch);
    params.n_ubatch             = in_range("n_ubatch", options.n_ubatch, 1, max_batch);
    params.n_seq_max            = 1;
    // Each output costs a row of the vocabulary's size: by default only the last token's logits can be read.
    params.n_outputs_max        = in_range("n_outputs_max", options.n_outputs_max, 1, max_batch);
    params.flash_attn_type      = flash_attn(options.flash_attn);
    params.type_k               = kv_type("type_k", options.type_k);
    params.type_v               = kv_type("type_v", options.type_v);
    params.no_perf              = true;
    if (ggml_is_quantized(params.type_v) && params.flash_attn_type == LLAMA_FLASH_ATTN_TYPE_DISABLED) {
        throw Error("InvalidOption", "type_v='" + options.type_v + "' needs flash attention. Use flash_attn='on' or "
                                     "'auto', or type_v='f16'.");
    }
    const int32_t trained = llama_model_n_ctx_train(model.get());
    need_memory(model, params.n_ctx == 0 ? trained : params.n_ctx, params.type_k, params.type_v);
    return params;
}

llama_context * make_context(const Model & model, const llama_context_params & params) {
    const Servers::Turn turn(model.servers());
    model.servers().check();
    take_complaints();
    std::string why;
    try {
        llama_context * context = llama_init_from_model(model.get(), params);
        if (context != nullptr) {
            return context;  // of a server that is lost by now, the first batch will tell
        }
    } catch (const std::exception & error) {
        why = error.what();
    }
    model.servers().check();
    const std::string complaints = take_complaints();
    throw Error("InvalidOption", "llama.cpp cannot make a context with these options: " +
                                     (complaints.empty() ? why : complaints));
}

}  // namespace smith
