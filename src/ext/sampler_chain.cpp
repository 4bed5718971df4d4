#include "sampler_chain.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "abort_guard.hpp"
#include "errors.hpp"
#include "log.hpp"
#include "named.hpp"

namespace smith {

namespace {

// Bytes: std::regex takes some hundred of the stack's for each character.
constexpr std::size_t max_untriggered = 8192;

bool is_grammar(const std::string & name) {
    return name == "grammar" || name == "grammar_lazy";
}

// Whether applying it changes nothing but the candidates, and the numbers that it draws at random.
bool is_pure(const std::string & name) {
    static const std::set<std::string> pure = { "dist", "dry", "greedy", "logit_bias", "min_p", "penalties", "temp", "temp_ext",
                                                "top_k", "top_n_sigma", "top_p", "typical", "xtc" };
    return pure.count(name) != 0;
}

llama_token chosen_of(const llama_token_data_array & array) {
    const bool chosen = array.selected >= 0 && array.selected < static_cast<int64_t>(array.size);
    if (!chosen || std::isnan(array.data[array.selected].logit) || array.data[array.selected].logit == -INFINITY) {
        return LLAMA_TOKEN_NULL;
    }
    return array.data[array.selected].id;
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

void SamplerChain::apply_all(llama_token_data_array & array) {
    if (broken_) {
        throw Error("DecodeFailed", "A grammar of this sampler chain has lost its place in an earlier call. reset() it.");
    }
    *failure_ = nullptr;
    try {
        const AbortGuard guard;
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
    llama_token token = try_first(logits);
    if (token == LLAMA_TOKEN_NULL) {
        llama_token_data_array array = candidates(logits);
        apply_all(array);
        token = chosen_of(array);
    }
    if (token == LLAMA_TOKEN_NULL) {
        throw Error("DecodeFailed", "No token is left to choose: the grammar, or another sampler, allows none.");
    }
    accept_checked(token);
    return token;
}

llama_token_data_array SamplerChain::candidates(const float * logits) {
    const auto n = static_cast<std::size_t>(model_->n_vocab());
    candidates_.resize(n);
    for (std::size_t i = 0; i < n; i++) {
        if (std::isnan(logits[i])) {  // upstream's sorting is undefined for these
            throw Error("DecodeFailed", "The model's logits are not numbers: the model file is damaged, or its type overflows.");
        }
        candidates_[i] = { static_cast<llama_token>(i), logits[i], 0.0f };
    }
    return { candidates_.data(), candidates_.size(), -1, false };
}

// A grammar looks at every candidate's text, which takes about as long as evaluating a small model. So the others choose
// first, and if the grammar allows their choice it stands, as in llama.cpp's own programs. A choice that is refused is made
// anew among what the grammar allows, which together gives each allowed token its share. LLAMA_TOKEN_NULL: that may not be done here, or gave nothing.
llama_token SamplerChain::try_first(const float * logits) {
    const bool any = std::any_of(names_.begin(), names_.end(), is_grammar);
    if (!any || broken_ || !std::all_of(names_.begin(), names_.end(), [](const auto & n) { return is_grammar(n) || is_pure(n); })) {
        return LLAMA_TOKEN_NULL;
    }
    llama_token_data_array array = candidates(logits);
    apply_each(array, [](const std::string & name) { return !is_grammar(name); });
    const llama_token token = chosen_of(array);
    if (token == LLAMA_TOKEN_NULL) {
        return LLAMA_TOKEN_NULL;
    }
    llama_token_data       one    = { token, 0.0f, 0.0f };
    llama_token_data_array single = { &one, 1, -1, false };
    apply_each(single, is_grammar);
    return one.logit == -INFINITY ? LLAMA_TOKEN_NULL : token;
}

template <typename Which> void SamplerChain::apply_each(llama_token_data_array & array, Which && which) {
    try {
        for (std::size_t i = 0; i < names_.size(); i++) {
            if (which(names_[i])) {
                llama_sampler_apply(llama_sampler_chain_get(chain_.get(), static_cast<int32_t>(i)), &array);
            }
        }
    } catch (const std::exception & error) {
        throw Error("DecodeFailed", std::string("A sampler failed: ") + error.what() + ".");
    }
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
        const AbortGuard guard;
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
