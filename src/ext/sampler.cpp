#include "sampler.hpp"

#include <cmath>
#include <string>

#include "errors.hpp"

namespace smith {

namespace {

[[noreturn]] void no_number() {
    throw Error("DecodeFailed", "The model's logits are not numbers: the model file is damaged, or its type overflows.");
}

// The first of the largest, as upstream's greedy sampler has it, without building its table of candidates.
llama_token greedy(const float * logits, int32_t n_vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    if (std::isnan(logits[best])) {
        no_number();
    }
    return best;
}

}  // namespace

Sampler::Sampler(const SamplerOptions & options) {
    if (!(options.temperature >= 0.0f) || std::isinf(options.temperature)) {
        throw Error("InvalidOption", "temperature is " + std::to_string(options.temperature) +
                                         ". Allowed: 0 (the most likely token) and more.");
    }
    if (options.top_k < 0) {
        throw Error("InvalidOption", "top_k is " + std::to_string(options.top_k) + ". Allowed: 0 (all) and more.");
    }
    if (!(options.top_p > 0.0f && options.top_p <= 1.0f)) {
        throw Error("InvalidOption", "top_p is " + std::to_string(options.top_p) + ". Allowed: above 0, up to 1.");
    }
    if (options.temperature == 0.0f) {
        return;
    }
    chain_.reset(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    llama_sampler_chain_add(chain_.get(), llama_sampler_init_top_k(options.top_k));
    llama_sampler_chain_add(chain_.get(), llama_sampler_init_top_p(options.top_p, 1));
    llama_sampler_chain_add(chain_.get(), llama_sampler_init_temp(options.temperature));
    llama_sampler_chain_add(chain_.get(), llama_sampler_init_dist(options.seed));
}

llama_token Sampler::sample(const float * logits, int32_t n_vocab) {
    if (!chain_) {
        return greedy(logits, n_vocab);
    }
    candidates_.resize(static_cast<std::size_t>(n_vocab));
    for (int32_t i = 0; i < n_vocab; i++) {
        if (std::isnan(logits[i])) {
            no_number();  // upstream's sorting is undefined for these
        }
        candidates_[static_cast<std::size_t>(i)] = { i, logits[i], 0.0f };
    }
    llama_token_data_array array = { candidates_.data(), candidates_.size(), -1, false };
    llama_sampler_apply(chain_.get(), &array);
    if (array.selected < 0 || array.selected >= static_cast<int64_t>(array.size)) {
        throw Error("DecodeFailed", "No token could be sampled from the model's logits.");
    }
    const llama_token token = array.data[array.selected].id;
    llama_sampler_accept(chain_.get(), token);
    return token;
}

}  // namespace smith
