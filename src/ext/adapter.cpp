#include "adapter.hpp"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <exception>

#include "abort_guard.hpp"
#include "errors.hpp"
#include "ggml.h"
#include "gguf.h"
#include "gguf.hpp"
#include "log.hpp"

namespace smith {

LoraAdapter::LoraAdapter(std::shared_ptr<Model> model, const std::string & path)
    : model_(std::move(model)), made_by_(getpid()) {
    if (model_->vocab_only() || model_->no_alloc()) {
        throw Error("InvalidOption", model_->path() + " was loaded without its weights, to which an adapter adds.");
    }
    check_gguf(path);
    const Servers::Turn turn(model_->servers());
    take_complaints();
    std::string why;
    try {
        const AbortGuard guard;
        adapter_ = llama_adapter_lora_init(model_->get(), path.c_str());
    } catch (const std::exception & error) {
        why = error.what();
    }
    if (adapter_ == nullptr) {
        const std::string complaints = take_complaints();
        throw Error("InvalidModel", path + " cannot be loaded as a LoRA adapter of " + model_->path() + ":\n" +
                                        (complaints.empty() ? why : complaints));
    }
}

// In a forked child nothing is freed: the connections to servers have no thread there, and would wait for ever.
LoraAdapter::~LoraAdapter() {
    if (getpid() == made_by_) {
        const Servers::Turn turn(model_->servers());
        llama_adapter_lora_free(adapter_);
    }
}

std::vector<std::pair<std::string, std::string>> LoraAdapter::metadata() const {
    std::vector<std::pair<std::string, std::string>> all;
    for (int32_t i = 0; i < llama_adapter_meta_count(adapter_); i++) {
        char          key[512];
        const int32_t length = llama_adapter_meta_key_by_index(adapter_, i, key, sizeof(key));
        const int32_t size   = llama_adapter_meta_val_str_by_index(adapter_, i, nullptr, 0);
        if (length < 0 || length >= static_cast<int32_t>(sizeof(key)) || size < 0) {
            continue;
        }
        std::string value(static_cast<std::size_t>(size) + 1, '\0');
        llama_adapter_meta_val_str_by_index(adapter_, i, value.data(), value.size());
        value.resize(static_cast<std::size_t>(size));
        all.emplace_back(key, std::move(value));
    }
    return all;
}

std::vector<llama_token> LoraAdapter::invocation_tokens() const {
    const auto          n      = llama_adapter_get_alora_n_invocation_tokens(adapter_);
    const llama_token * tokens = llama_adapter_get_alora_invocation_tokens(adapter_);
    return n == 0 || tokens == nullptr ? std::vector<llama_token>() : std::vector<llama_token>(tokens, tokens + n);
}

namespace {

struct Free {
    void operator()(gguf_context * file) const { gguf_free(file); }
    void operator()(ggml_context * tensors) const { ggml_free(tensors); }
};

constexpr int max_layers = 512;  // LLAMA_MAX_LAYERS

}  // namespace

ControlVector read_control_vector(const std::string & path) {
    check_gguf(path, false);
    ggml_context *                            made = nullptr;
    const std::unique_ptr<gguf_context, Free> file(gguf_init_from_file(path.c_str(), { /*no_alloc=*/false, &made }));
    const std::unique_ptr<ggml_context, Free> tensors(made);
    if (!file || !tensors) {
        throw Error("InvalidModel", path + " cannot be read as a control vector.");
    }
    ControlVector vector;
    for (ggml_tensor * t = ggml_get_first_tensor(made); t != nullptr; t = ggml_get_next_tensor(made, t)) {
        const std::string name   = ggml_get_name(t);
        const std::string prefix = "direction.";
        if (name.compare(0, prefix.size(), prefix) != 0) {
            continue;
        }
        const std::string number = name.substr(prefix.size());
        const bool        digits = !number.empty() && number.size() < 6 && number.find_first_not_of("0123456789") == std::string::npos;
        const int         layer  = digits ? std::atoi(number.c_str()) : 0;
        if (layer < 1 || layer > max_layers) {
            throw Error("InvalidModel", path + " has the tensor '" + name + "'; the layer must be 1 to " +
                                            std::to_string(max_layers) + ".");
        }
        if (t->type != GGML_TYPE_F32 || ggml_n_dims(t) != 1 || (vector.n_embd != 0 && vector.n_embd != t->ne[0])) {
            throw Error("InvalidModel", path + " has the tensor '" + name + "', which is not one row of f32, as wide as the others.");
        }
        vector.n_embd   = t->ne[0];
        const auto size = static_cast<std::size_t>(t->ne[0]);
        if (vector.data.size() < size * static_cast<std::size_t>(layer)) {
            vector.data.resize(size * static_cast<std::size_t>(layer));
        }
        std::memcpy(vector.data.data() + size * static_cast<std::size_t>(layer - 1), t->data, size * sizeof(float));
    }
    if (vector.data.empty()) {
        throw Error("InvalidModel", path + " has no tensor 'direction.<layer>': it is not a control vector.");
    }
    for (const float value : vector.data) {
        if (!std::isfinite(value)) {
            throw Error("InvalidModel", path + " holds a value that is not a finite number.");
        }
    }
    return vector;
}

}  // namespace smith
