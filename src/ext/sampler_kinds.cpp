// The samplers that a chain may hold: each option is checked before upstream sees it.
#include <cmath>
#include <exception>
#include <regex>

#include "abort_guard.hpp"
#include "errors.hpp"
#include "grammar_check.hpp"
#include "log.hpp"
#include "named.hpp"
#include "sampler_chain.hpp"

namespace smith {

namespace {

constexpr std::size_t max_pattern = 512;  // bytes; matching recurses

constexpr int64_t max_history = 1 << 20;

std::size_t keep(int64_t min_keep) {
    return static_cast<std::size_t>(in_range("min_keep", min_keep, 0, INT32_MAX));
}

}  // namespace

void SamplerChain::add_greedy() {
    add("greedy", llama_sampler_init_greedy());
}

void SamplerChain::add_dist(uint32_t seed) {
    add("dist", llama_sampler_init_dist(seed));
}

void SamplerChain::add_top_k(int64_t k) {
    add("top_k", llama_sampler_init_top_k(static_cast<int32_t>(in_range("k", k, 0, INT32_MAX))));
}

void SamplerChain::add_top_p(float p, int64_t min_keep) {
    add("top_p", llama_sampler_init_top_p(in_range("p", p, 0.0f, 1.0f), keep(min_keep)));
}

void SamplerChain::add_min_p(float p, int64_t min_keep) {
    add("min_p", llama_sampler_init_min_p(in_range("p", p, 0.0f, 1.0f), keep(min_keep)));
}

void SamplerChain::add_typical(float p, int64_t min_keep) {
    add("typical", llama_sampler_init_typical(in_range("p", p, 0.0f, 1.0f), keep(min_keep)));
}

void SamplerChain::add_temp(float t) {
    add("temp", llama_sampler_init_temp(in_range("t", t, 0.0f, 1e6f)));
}

void SamplerChain::add_temp_ext(float t, float delta, float exponent) {
    add("temp_ext", llama_sampler_init_temp_ext(in_range("t", t, 0.0f, 1e6f), in_range("delta", delta, 0.0f, 1e6f),
                                                in_range("exponent", exponent, 0.0f, 1e3f)));
}

void SamplerChain::add_xtc(float p, float t, int64_t min_keep, uint32_t seed) {
    add("xtc", llama_sampler_init_xtc(in_range("p", p, 0.0f, 1.0f), in_range("t", t, 0.0f, 1.0f), keep(min_keep), seed));
}

void SamplerChain::add_top_n_sigma(float n) {
    add("top_n_sigma", llama_sampler_init_top_n_sigma(in_range("n", n, -1.0f, 1e6f, " (0 and less: all)")));
}

void SamplerChain::add_mirostat(uint32_t seed, float tau, float eta, int64_t m) {
    add("mirostat", llama_sampler_init_mirostat(model_->n_vocab(), seed, in_range("tau", tau, 0.0f, 1e3f),
                                                in_range("eta", eta, 0.0f, 1e3f),
                                                static_cast<int32_t>(in_range("m", m, 2, model_->n_vocab()))));
}

void SamplerChain::add_mirostat_v2(uint32_t seed, float tau, float eta) {
    add("mirostat_v2", llama_sampler_init_mirostat_v2(seed, in_range("tau", tau, 0.0f, 1e3f), in_range("eta", eta, 0.0f, 1e3f)));
}

void SamplerChain::check_grammar(const std::string & grammar, const std::string & root) const {
    model_->need_vocabulary();
    smith::check_grammar(model_->vocab(), grammar, root);
}

// Parses a grammar by `make`. Why one is refused is in llama.cpp's log alone.
template <typename Make> static llama_sampler * parsed(Make && make) {
    take_complaints();
    llama_sampler * sampler = nullptr;
    std::string     why;
    try {
        const AbortGuard guard;
        sampler = make();
    } catch (const std::exception & error) {
        why = error.what();
    }
    if (sampler == nullptr) {
        throw Error("InvalidOption", "The grammar cannot be used:\n" + take_complaints() + why);
    }
    return sampler;
}

void SamplerChain::add_grammar(const std::string & grammar, const std::string & root) {
    check_grammar(grammar, root);
    add("grammar", parsed([&] { return llama_sampler_init_grammar(model_->vocab(), grammar.c_str(), root.c_str()); }));
}

void SamplerChain::add_grammar_lazy(const std::string & grammar, const std::string & root,
                                    const std::vector<std::string> & patterns, const std::vector<llama_token> & tokens) {
    check_grammar(grammar, root);
    model_->check_tokens(tokens);
    if (patterns.empty() && tokens.empty()) {
        throw Error("InvalidOption", "A lazy grammar needs something that wakes it: trigger_patterns or trigger_tokens.");
    }
    std::vector<const char *> texts;
    for (const std::string & pattern : patterns) {
        if (pattern.empty() || pattern.size() > max_pattern || pattern.find('\0') != std::string::npos) {
            throw Error("InvalidOption", "A trigger pattern has " + std::to_string(pattern.size()) + " bytes. Allowed: 1 to " +
                                             std::to_string(max_pattern) + ", without NUL.");
        }
        try {
            const std::regex compiled(pattern);
        } catch (const std::regex_error & error) {
            throw Error("InvalidOption", "The trigger pattern '" + pattern + "' is no regular expression (ECMAScript): " +
                                             error.what() + ".");
        }
        texts.push_back(pattern.c_str());
    }
    add("grammar_lazy", parsed([&] {
            return llama_sampler_init_grammar_lazy_patterns(model_->vocab(), grammar.c_str(), root.c_str(), texts.data(),
                                                            texts.size(), tokens.data(), tokens.size());
        }));
}

void SamplerChain::add_penalties(int64_t last_n, float repeat, float freq, float present) {
    add("penalties", llama_sampler_init_penalties(
                         model_->n_vocab(), static_cast<int32_t>(in_range("last_n", last_n, 0, max_history)),
                         in_range("repeat", repeat, 1e-6f, 1e6f), in_range("freq", freq, -1e6f, 1e6f),
                         in_range("present", present, -1e6f, 1e6f)));
}

void SamplerChain::add_dry(float multiplier, float base, int64_t allowed_length, int64_t last_n,
                           const std::vector<std::string> & breakers) {
    model_->need_vocabulary();
    std::vector<const char *> texts;
    for (const std::string & text : breakers) {
        if (text.empty() || text.size() > 256 || text.find('\0') != std::string::npos) {
            throw Error("InvalidOption", "A sequence breaker has " + std::to_string(text.size()) +
                                             " bytes. Allowed: 1 to 256, without NUL.");
        }
        texts.push_back(text.c_str());
    }
    in_range("The number of sequence breakers", static_cast<int64_t>(breakers.size()), 0, 256);
    add("dry", llama_sampler_init_dry(model_->vocab(), in_range("multiplier", multiplier, 0.0f, 1e6f),
                                      in_range("base", base, 0.0f, 1e6f),
                                      static_cast<int32_t>(in_range("allowed_length", allowed_length, 1, INT32_MAX)),
                                      static_cast<int32_t>(in_range("last_n", last_n, 0, max_history)), texts.data(),
                                      texts.size()));
}

void SamplerChain::add_adaptive_p(float target, float decay, uint32_t seed) {
    add("adaptive_p", llama_sampler_init_adaptive_p(in_range("target", target, -1.0f, 1.0f, " (negative: off)"),
                                                    in_range("decay", decay, 0.0f, 0.99f), seed));
}

void SamplerChain::add_logit_bias(const std::vector<std::pair<int64_t, float>> & bias) {
    std::vector<llama_logit_bias> all;
    for (const auto & [token, value] : bias) {
        model_->check_token(token);
        if (std::isnan(value)) {
            throw Error("InvalidOption", "The bias of token " + std::to_string(token) + " is not a number.");
        }
        all.push_back({ static_cast<llama_token>(token), value });
    }
    add("logit_bias", llama_sampler_init_logit_bias(model_->n_vocab(), static_cast<int32_t>(all.size()), all.data()));
}

void SamplerChain::add_infill() {
    model_->need_vocabulary();
    if (llama_vocab_eot(model_->vocab()) == LLAMA_TOKEN_NULL && llama_vocab_eos(model_->vocab()) == LLAMA_TOKEN_NULL) {
        throw Error("InvalidOption", "infill needs a vocabulary with an end token; this one has none.");
    }
    add("infill", llama_sampler_init_infill(model_->vocab()));
}

void SamplerChain::add_custom(std::shared_ptr<CustomSampler> sampler) {
    customs_.push_back(sampler);
    add("custom", make_custom(std::move(sampler), failure_));
}

}  // namespace smith
