#include "sampler_chain.hpp"

#include <algorithm>
#include <cmath>
#include <regex>

#include "errors.hpp"
#include "log.hpp"
#include "named.hpp"

namespace smith {

namespace {

// Parsing and matching recurse; these keep the stack's use far below what a thread has.
constexpr std::size_t max_grammar  = 1 << 20;
constexpr std::size_t max_rules    = 10000;
constexpr int         max_nesting  = 200;
constexpr std::size_t max_pattern  = 512;
constexpr std::size_t max_untriggered = 8192;  // std::regex takes some hundred bytes of stack for each character

constexpr int64_t max_history = 1 << 20;

struct Hook {
    std::shared_ptr<CustomSampler>      custom;
    std::shared_ptr<std::exception_ptr> failure;

    template <typename Work> void guarded(Work && work) const {
        if (*failure) {
            return;
        }
        try {
            work();
        } catch (...) {
            *failure = std::current_exception();  // upstream's frames lie between here and the caller
        }
    }
};

Hook & hook(const llama_sampler * sampler) {
    return *static_cast<Hook *>(sampler->ctx);
}

llama_sampler_i custom_interface() {
    llama_sampler_i i = {};
    i.name            = [](const llama_sampler *) { return "custom"; };
    i.accept          = [](llama_sampler * s, llama_token token) { hook(s).guarded([&] { hook(s).custom->accept(token); }); };
    i.apply           = [](llama_sampler * s, llama_token_data_array * all) {
        hook(s).guarded([&] { hook(s).custom->apply(*all); });
    };
    i.reset = [](llama_sampler * s) { hook(s).guarded([&] { hook(s).custom->reset(); }); };
    i.free  = [](llama_sampler * s) { delete &hook(s); };
    return i;  // no clone: SamplerChain::clone() does it, for it needs the new chain's failure
}

llama_sampler_i * custom() {
    static llama_sampler_i the_interface = custom_interface();
    return &the_interface;
}

std::size_t keep(int64_t min_keep) {
    return static_cast<std::size_t>(in_range("min_keep", min_keep, 0, INT32_MAX));
}

bool is_grammar(const std::string & name) {
    return name == "grammar" || name == "grammar_lazy";
}

bool chooses(const std::string & name) {
    return name == "greedy" || name == "dist" || name == "mirostat" || name == "mirostat_v2" || name == "adaptive_p";
}

}  // namespace

SamplerChain::SamplerChain(std::shared_ptr<Model> model)
    : model_(std::move(model)), failure_(std::make_shared<std::exception_ptr>()) {
    llama_sampler_chain_params params = llama_sampler_chain_default_params();
    params.no_perf                    = false;
    chain_.reset(llama_sampler_chain_init(params));
}

SamplerChain::Use::Use(const SamplerChain & chain) : chain_(chain) {
    if (chain.used_.exchange(true)) {
        throw Error("SessionBusy", "Another call is using this sampler chain, which has a state. Give each session or "
                                   "sequence a chain of its own: clone() it.");
    }
}

void SamplerChain::add(const char * name, llama_sampler * sampler) {
    if (sampler == nullptr) {
        throw Error("InvalidOption", std::string("llama.cpp cannot make the sampler '") + name + "': " + take_complaints());
    }
    if (!names_.empty() && chooses(names_.back())) {
        llama_sampler_free(sampler);
        throw Error("InvalidOption", "'" + names_.back() + "' chooses a token, so '" + name + "' after it has no effect. "
                                     "Put the one that chooses last.");
    }
    llama_sampler_chain_add(chain_.get(), sampler);
    names_.emplace_back(name);
}

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
    if (grammar.empty() || grammar.size() > max_grammar || grammar.find('\0') != std::string::npos ||
        root.find('\0') != std::string::npos) {
        throw Error("InvalidOption", "The grammar has " + std::to_string(grammar.size()) + " bytes. Allowed: 1 to " +
                                         std::to_string(max_grammar) + ", without NUL.");
    }
    int         depth = 0;
    std::size_t rules = 0;
    for (std::size_t i = 0; i < grammar.size(); i++) {
        depth += grammar[i] == '(' ? 1 : grammar[i] == ')' ? -1 : 0;  // in texts too: they may as well be balanced
        rules += grammar.compare(i, 3, "::=") == 0 ? 1 : 0;
        if (depth > max_nesting || rules > max_rules) {
            throw Error("InvalidOption", "The grammar is too large: at most " + std::to_string(max_rules) + " rules, and " +
                                             std::to_string(max_nesting) + " parentheses within each other.");
        }
    }
}

// Why a grammar is refused is in llama.cpp's log alone.
static llama_sampler * parsed(llama_sampler * sampler) {
    if (sampler == nullptr) {
        throw Error("InvalidOption", "The grammar cannot be used:\n" + take_complaints());
    }
    return sampler;
}

void SamplerChain::add_grammar(const std::string & grammar, const std::string & root) {
    check_grammar(grammar, root);
    take_complaints();
    try {
        add("grammar", parsed(llama_sampler_init_grammar(model_->vocab(), grammar.c_str(), root.c_str())));
    } catch (const Error &) {
        throw;
    } catch (const std::exception & error) {
        throw Error("InvalidOption", std::string("The grammar cannot be used: ") + error.what() + ".");
    }
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
    take_complaints();
    try {
        add("grammar_lazy", parsed(llama_sampler_init_grammar_lazy_patterns(model_->vocab(), grammar.c_str(), root.c_str(),
                                                                            texts.data(), texts.size(), tokens.data(),
                                                                            tokens.size())));
    } catch (const Error &) {
        throw;
    } catch (const std::exception & error) {
        throw Error("InvalidOption", std::string("The grammar cannot be used: ") + error.what() + ".");
    }
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
    add("custom", llama_sampler_init(custom(), new Hook{ std::move(sampler), failure_ }));
}

void SamplerChain::apply_all(llama_token_data_array & array) {
    if (broken_) {
        throw Error("DecodeFailed", "A grammar of this sampler chain has lost its place in an earlier call. reset() it.");
    }
    *failure_ = nullptr;
    try {
        llama_sampler_apply(chain_.get(), &array);
    } catch (const std::exception & error) {
        throw Error("DecodeFailed", std::string("A sampler failed: ") + error.what() + ".");
    }
    if (*failure_) {
        std::rethrow_exception(std::exchange(*failure_, nullptr));
    }
}

llama_token SamplerChain::sample(const float * logits, const Model & model) {
    const Use use(*this);
    if (&model != model_.get()) {
        throw Error("InvalidOption", "The sampler chain was made for another model. Make one with SamplerChain(model, ...).");
    }
    if (names_.empty() || !chooses(names_.back())) {
        throw Error("InvalidOption", "The sampler chain does not choose a token. End it with greedy, dist, mirostat, "
                                     "mirostat_v2 or adaptive_p.");
    }
    const auto n = static_cast<std::size_t>(model_->n_vocab());
    candidates_.resize(n);
    for (std::size_t i = 0; i < n; i++) {
        if (std::isnan(logits[i])) {  // upstream's sorting is undefined for these
            throw Error("DecodeFailed", "The model's logits are not numbers: the model file is damaged, or its type overflows.");
        }
        candidates_[i] = { static_cast<llama_token>(i), logits[i], 0.0f };
    }
    llama_token_data_array array = { candidates_.data(), candidates_.size(), -1, false };
    apply_all(array);
    const bool chosen = array.selected >= 0 && array.selected < static_cast<int64_t>(array.size);
    if (!chosen || std::isnan(array.data[array.selected].logit) || array.data[array.selected].logit == -INFINITY) {
        throw Error("DecodeFailed", "No token is left to choose: the grammar, or another sampler, allows none.");
    }
    const llama_token token = array.data[array.selected].id;
    accept_checked(token);
    return token;
}

void SamplerChain::apply(std::vector<llama_token_data> & candidates, int64_t & selected) {
    const Use use(*this);
    if (candidates.empty()) {
        throw Error("InvalidOption", "There are no candidates to apply the samplers to. Give at least one.");
    }
    for (const llama_token_data & candidate : candidates) {
        model_->check_token(candidate.id);
        if (std::isnan(candidate.logit)) {
            throw Error("InvalidOption", "The logit of token " + std::to_string(candidate.id) + " is not a number.");
        }
    }
    llama_token_data_array array = { candidates.data(), candidates.size(), -1, false };
    apply_all(array);
    selected = array.selected >= 0 && array.selected < static_cast<int64_t>(array.size) ? array.data[array.selected].id : -1;
    candidates = std::vector<llama_token_data>(array.data, array.data + array.size);
}

bool SamplerChain::allows_all(llama_sampler * grammar) const {
    std::vector<llama_token_data> all;
    for (llama_token token = 0; token < model_->n_vocab(); token++) {
        all.push_back({ token, 0.0f, 0.0f });
    }
    llama_token_data_array array = { all.data(), all.size(), -1, false };
    llama_sampler_apply(grammar, &array);
    return std::none_of(all.begin(), all.end(), [](const llama_token_data & c) { return c.logit == -INFINITY; });
}

// Upstream matches the patterns of a lazy grammar that still sleeps against all text so far, with a stack as deep as it is
// long.
void SamplerChain::check_trigger_text(llama_token token) {
    trigger_text_ += model_->piece(token, true).size();
    if (triggered_ || trigger_text_ <= max_untriggered) {
        return;
    }
    for (std::size_t i = 0; i < names_.size(); i++) {
        if (names_[i] == "grammar_lazy" && allows_all(llama_sampler_chain_get(chain_.get(), static_cast<int32_t>(i)))) {
            throw Error("DecodeFailed", "A lazy grammar was not triggered within " + std::to_string(max_untriggered) +
                                            " bytes of text, which is as far as it can look. reset() the chain.");
        }
    }
    triggered_ = true;
}

void SamplerChain::accept_checked(llama_token token) {
    for (std::size_t i = 0; i < names_.size(); i++) {
        if (!is_grammar(names_[i])) {
            continue;
        }
        llama_token_data       one   = { token, 0.0f, 0.0f };
        llama_token_data_array array = { &one, 1, -1, false };
        llama_sampler_apply(llama_sampler_chain_get(chain_.get(), static_cast<int32_t>(i)), &array);
        if (one.logit == -INFINITY) {  // upstream would end the process
            throw Error("InvalidOption", "The grammar does not allow token " + std::to_string(token) + " here.");
        }
        if (names_[i] == "grammar_lazy") {
            check_trigger_text(token);
        }
    }
    *failure_ = nullptr;
    try {
        llama_sampler_accept(chain_.get(), token);
    } catch (const std::exception & error) {
        broken_ = true;
        throw Error("DecodeFailed", std::string("A sampler could not accept a token: ") + error.what() + ". reset() the chain.");
    }
    if (*failure_) {
        std::rethrow_exception(std::exchange(*failure_, nullptr));
    }
}

void SamplerChain::accept(int64_t token) {
    const Use use(*this);
    model_->check_token(token);
    if (broken_) {
        throw Error("DecodeFailed", "A grammar of this sampler chain has lost its place in an earlier call. reset() it.");
    }
    accept_checked(static_cast<llama_token>(token));
}

void SamplerChain::reset() {
    const Use use(*this);
    *failure_ = nullptr;
    llama_sampler_reset(chain_.get());
    broken_       = false;
    triggered_    = false;
    trigger_text_ = 0;
    if (*failure_) {
        std::rethrow_exception(std::exchange(*failure_, nullptr));
    }
}

std::shared_ptr<SamplerChain> SamplerChain::clone() const {
    const Use   use(*this);
    auto        copy  = std::make_shared<SamplerChain>(model_);
    std::size_t which = 0;
    for (std::size_t i = 0; i < names_.size(); i++) {
        if (names_[i] == "custom") {
            copy->add_custom(customs_[which++]->clone());
        } else {
            const llama_sampler * sampler = llama_sampler_chain_get(chain_.get(), static_cast<int32_t>(i));
            copy->add(names_[i].c_str(), llama_sampler_clone(sampler));
        }
    }
    copy->broken_       = broken_;
    copy->triggered_    = triggered_;
    copy->trigger_text_ = trigger_text_;
    return copy;
}

void SamplerChain::remove(int64_t index) {
    const Use use(*this);
    in_range("The index of a sampler", index, 0, static_cast<int64_t>(names_.size()) - 1);
    const auto place = static_cast<std::ptrdiff_t>(index);
    if (names_[static_cast<std::size_t>(index)] == "custom") {
        customs_.erase(customs_.begin() + std::count(names_.begin(), names_.begin() + place, "custom"));
    }
    llama_sampler_free(llama_sampler_chain_remove(chain_.get(), static_cast<int32_t>(index)));
    names_.erase(names_.begin() + place);
}

}  // namespace smith
