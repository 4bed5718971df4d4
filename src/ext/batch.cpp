#include "batch.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "context.hpp"
#include "errors.hpp"
#include "named.hpp"

namespace smith {

namespace {

// Far beyond any context; positions above it would overflow when they are shifted.
constexpr int64_t max_pos = 1 << 30;

int32_t positions_of(const llama_model * model) {
    const auto type = llama_model_rope_type(model);
    return type == LLAMA_ROPE_TYPE_MROPE || type == LLAMA_ROPE_TYPE_IMROPE ? 4 : 1;
}

}  // namespace

Batch::Batch(const Context & context)
    : context_(context.shared()),
      batch_(llama_batch_ext_init(context_.get())),
      n_max_(context.n_batch()),
      n_seq_max_(context.n_seq_max()),
      n_vocab_(context.model().n_vocab()),
      n_embd_(llama_model_n_embd_inp(context.model().get())),
      n_pos_(positions_of(context.model().get())) {}

Batch::Use::Use(Batch & batch) : batch_(batch) {
    if (batch.used_.exchange(true)) {
        throw Error("SessionBusy", "Another thread evaluates this batch. Use a batch for each thread.");
    }
}

void Batch::need_free() const {
    if (used_.load()) {
        throw Error("SessionBusy", "Another thread evaluates this batch. Use a batch for each thread.");
    }
}

void Batch::check(const std::vector<int64_t> & pos, const std::vector<int64_t> & seq_ids) const {
    need_free();
    if (static_cast<int64_t>(size()) >= n_max_) {
        throw Error("ContextFull", "The batch is full: it holds " + std::to_string(n_max_) +
                                       " tokens (n_batch). Evaluate it, or make the context with a larger n_batch.");
    }
    for (const int64_t p : pos) {
        in_range("A position", p, 0, max_pos);
    }
    if (seq_ids.empty()) {
        throw Error("InvalidOption", "A token belongs to no sequence. Give at least one id.");
    }
    for (const int64_t id : seq_ids) {
        in_range("A sequence id", id, 0, n_seq_max_ - 1);
    }
}

void Batch::check_index(int64_t index) const {
    need_free();
    if (index < 0 || index >= static_cast<int64_t>(size())) {
        throw Error("InvalidOption", "Index " + std::to_string(index) + " is not in the batch, which has " +
                                         std::to_string(size()) + " tokens.");
    }
}

void Batch::check_row(const float * row, int64_t n_embd) const {
    if (n_embd != n_embd_) {
        throw Error("InvalidOption", "The embedding has " + std::to_string(n_embd) + " numbers; the model takes " +
                                         std::to_string(n_embd_) + " (n_embd_inp).");
    }
    if (!std::all_of(row, row + n_embd, [](float value) { return std::isfinite(value); })) {
        throw Error("InvalidOption", "The embedding holds a value that is not a finite number.");
    }
}

int32_t Batch::finish(int32_t index, const std::vector<int64_t> & pos, const std::vector<int64_t> & seq_ids, bool output) {
    for (const int64_t id : seq_ids) {
        llama_batch_ext_add_seq(batch_.get(), index, static_cast<llama_seq_id>(id));
        sequences_.push_back(static_cast<int32_t>(id));
    }
    std::vector<llama_pos> all(4, 0);
    std::copy(pos.begin(), pos.end(), all.begin());
    llama_batch_ext_set_pos(batch_.get(), index, all.data());
    llama_batch_ext_set_output_logits(batch_.get(), index, output);
    outputs_.push_back(output ? 1 : 0);
    rows_.push_back(0);
    return index;
}

int32_t Batch::add(int64_t token, int64_t pos, const std::vector<int64_t> & seq_ids, bool output) {
    check({ pos }, seq_ids);
    if (token < 0 || token >= n_vocab_) {
        throw Error("InvalidOption", "Token " + std::to_string(token) + " is not in the vocabulary (0 to " +
                                         std::to_string(n_vocab_ - 1) + ").");
    }
    if (has_rows_ && !has_tokens_) {
        throw Error("InvalidOption", "This batch holds embeddings without tokens; it cannot hold tokens too. Use another.");
    }
    has_tokens_         = true;
    const int32_t index = llama_batch_ext_add_token(batch_.get(), static_cast<llama_seq_id>(seq_ids.front()),
                                                    static_cast<llama_token>(token));
    return finish(index, { pos }, seq_ids, output);
}

int32_t Batch::add_embedding(const float * row, int64_t n_embd, const std::vector<int64_t> & pos,
                             const std::vector<int64_t> & seq_ids, bool output) {
    check(pos, seq_ids);
    check_row(row, n_embd);
    if (pos.size() != static_cast<std::size_t>(n_pos_)) {
        throw Error("InvalidOption", "An embedding of this model has " + std::to_string(n_pos_) + " positions, not " +
                                         std::to_string(pos.size()) + ".");
    }
    if (has_tokens_) {
        throw Error("InvalidOption", "This batch holds tokens; it cannot hold embeddings without tokens too. Use another.");
    }
    has_rows_           = true;
    const int32_t index = llama_batch_ext_add_embd(batch_.get(), static_cast<llama_seq_id>(seq_ids.front()),
                                                   { row, 1, static_cast<std::size_t>(n_embd) });
    finish(index, pos, seq_ids, output);
    rows_.back() = 1;
    return index;
}

void Batch::set_embedding(int64_t index, const float * row, int64_t n_embd) {
    check_index(index);
    check_row(row, n_embd);
    if (rows_[static_cast<std::size_t>(index)] != 0) {
        throw Error("InvalidOption", "Index " + std::to_string(index) + " of the batch has an embedding already.");
    }
    llama_batch_ext_set_embd_token(batch_.get(), static_cast<int32_t>(index), { row, 1, static_cast<std::size_t>(n_embd) });
    rows_[static_cast<std::size_t>(index)] = 1;
    has_rows_                              = true;
}

void Batch::extend(const llama_token * tokens, std::size_t n, int64_t pos, int64_t seq_id, std::size_t first_output) {
    need_free();
    if (n == 0) {
        return;
    }
    if (static_cast<int64_t>(n) > n_max_ - static_cast<int64_t>(size())) {
        throw Error("ContextFull", std::to_string(n) + " tokens do not fit into the batch: it holds " +
                                       std::to_string(n_max_) + " (n_batch), and " + std::to_string(size()) +
                                       " are in it. Evaluate it first, or give fewer.");
    }
    in_range("A position", pos, 0, max_pos - static_cast<int64_t>(n));
    for (std::size_t i = 0; i < n; i++) {  // all or none
        if (tokens[i] < 0 || tokens[i] >= n_vocab_) {
            throw Error("InvalidOption", "Token " + std::to_string(tokens[i]) + " at index " + std::to_string(i) +
                                             " is not in the vocabulary (0 to " + std::to_string(n_vocab_ - 1) + ").");
        }
    }
    const std::vector<int64_t> ids{ seq_id };
    for (std::size_t i = 0; i < n; i++) {
        add(tokens[i], pos + static_cast<int64_t>(i), ids, i >= first_output);
    }
}

void Batch::set_output(int64_t index, bool output) {
    check_index(index);
    llama_batch_ext_set_output_logits(batch_.get(), static_cast<int32_t>(index), output);
    outputs_[static_cast<std::size_t>(index)] = output ? 1 : 0;
}

void Batch::clear() {
    need_free();
    llama_batch_ext_clear(batch_.get());
    outputs_.clear();
    rows_.clear();
    sequences_.clear();
    has_tokens_ = has_rows_ = false;
}

int64_t Batch::n_outputs() const {
    return std::count(outputs_.begin(), outputs_.end(), 1);
}

}  // namespace smith
