#include "sequence.hpp"

#include <algorithm>
#include <string>

#include "errors.hpp"

namespace smith {

Sequence::Sequence(std::shared_ptr<Context> context) : context_(std::move(context)), id_(context_->take_sequence()) {
    try {
        batch_ = std::make_unique<Batch>(*context_);
    } catch (...) {
        context_->give_sequence(id_);
        throw;
    }
}

Sequence::~Sequence() {
    context_->give_sequence(id_);
}

void Sequence::begin() {
    tokens_.resize(static_cast<std::size_t>(llama_memory_seq_pos_max(memory(), id_) + 1), LLAMA_TOKEN_NULL);
    start_ = tokens_.size();
    epoch_ = tokens_.empty() ? context_->epoch() : epoch_;
}

void Sequence::set_tokens(const std::vector<llama_token> & tokens) {
    tokens_ = tokens;
    exact_  = std::numeric_limits<std::size_t>::max();
    epoch_  = context_->epoch();
    begin();
}

void Sequence::need_room(std::size_t n_tokens) const {
    const auto limit = static_cast<std::size_t>(context_->n_ctx_seq());
    if (n_tokens > limit - std::min(limit, size())) {
        throw Error("ContextFull", std::to_string(n_tokens) + " tokens do not fit: the context has room for " +
                                       std::to_string(limit) + " (n_ctx) and holds " + std::to_string(size()) +
                                       ". Give fewer, reset() the session, or make one with a larger n_ctx.");
    }
}

void Sequence::evaluate(std::vector<llama_token> & waiting, const LogitsReader * reader) {
    const auto  n_batch = static_cast<std::size_t>(context_->n_batch());
    std::size_t done    = 0;
    while (done < waiting.size()) {
        std::size_t n            = std::min(waiting.size() - done, n_batch);
        std::size_t first_output = n - 1;
        if (reader != nullptr) {
            first_output = reader->first - std::min(reader->first, done);
            n            = std::min(n, first_output + static_cast<std::size_t>(context_->n_outputs_max()));
            first_output = std::min(first_output, n);
        }
        try {
            batch_->clear();
            batch_->extend(waiting.data() + done, n, static_cast<int64_t>(size()), id_, first_output);
            context_->process(*batch_, false);
        } catch (const Interrupted &) {
            waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(done));
            if (!context_->taken_back()) {
                tokens_.clear();
                start_ = 0;
                waiting.clear();
                throw Error("DecodeFailed", "Stopped in the middle of a batch, which this model's memory cannot take back: "
                                            "the session's memory had to be cleared.");
            }
            throw;
        } catch (...) {
            waiting.clear();
            if (!context_->closed()) {
                take_back();
            }
            throw;
        }
        tokens_.insert(tokens_.end(), waiting.begin() + static_cast<std::ptrdiff_t>(done),
                       waiting.begin() + static_cast<std::ptrdiff_t>(done + n));
        if (reader != nullptr && first_output < n) {
            int64_t       rows = 0;
            const float * all  = context_->all_logits(rows);
            reader->read(done + first_output, all, static_cast<std::size_t>(rows));
        }
        done += n;
    }
    waiting.clear();
}

void Sequence::clear() {
    llama_memory_seq_rm(memory(), id_, -1, -1);
    tokens_.clear();
    start_ = 0;
    exact_ = std::numeric_limits<std::size_t>::max();
    epoch_ = context_->epoch();
}

bool Sequence::keep(std::size_t n) {
    if (n == 0) {
        clear();
        return true;
    }
    if (!llama_memory_seq_rm(memory(), id_, static_cast<llama_pos>(n), -1)) {
        clear();
        return false;
    }
    tokens_.resize(std::min(n, size()));
    start_ = std::min(start_, size());
    return true;
}

std::size_t Sequence::in_common(const std::vector<llama_token> & prompt) const {
    if (epoch_ != context_->epoch()) {
        return 0;
    }
    const std::size_t most = std::min({ size(), exact_, prompt.empty() ? 0 : prompt.size() - 1 });
    const auto        end  = tokens_.begin() + static_cast<std::ptrdiff_t>(most);
    const auto        n    = std::mismatch(tokens_.begin(), end, prompt.begin()).first - tokens_.begin();
    // Once a tail is forgotten, the cache of a sliding window may lack what the next token must see.
    const auto window = static_cast<int64_t>(llama_model_n_swa(context_->model().get()));
    const bool whole  = static_cast<std::size_t>(n) == size();
    if (!whole && llama_memory_seq_pos_min(memory(), id_) > std::max<int64_t>(0, n - window)) {
        return 0;
    }
    return static_cast<std::size_t>(n);
}

std::size_t Sequence::reuse(const std::vector<llama_token> & prompt) {
    const std::size_t n = in_common(prompt);
    return n < size() && !keep(n) ? 0 : n;
}

void Sequence::copy(const Sequence & other, std::size_t n) {
    clear();
    llama_memory_seq_cp(memory(), other.id_, id_, -1, -1);
    tokens_ = other.tokens_;
    exact_  = other.exact_;
    epoch_  = other.epoch_;
    start_  = size();
    keep(n);
}

void Sequence::shift(std::size_t n_keep, std::size_t n_discard) {
    const auto from = static_cast<llama_pos>(n_keep);
    const auto to   = static_cast<llama_pos>(n_keep + n_discard);
    if (!llama_memory_seq_rm(memory(), id_, from, to)) {
        throw Error("DecodeFailed", "This model's memory cannot drop the tokens in its middle.");
    }
    llama_memory_seq_add(memory(), id_, to, -1, from - to);
    tokens_.erase(tokens_.begin() + from, tokens_.begin() + to);
    exact_ = std::min(exact_, n_keep);
    start_ = std::min(start_, n_keep);  // further back than this nothing can be restored
}

}  // namespace smith
