// Context's memory: which tokens of which sequences it holds. Upstream ends the process for ids and ranges that it does
// not expect, so all are checked here.
#include <algorithm>
#include <string>

#include "context.hpp"
#include "errors.hpp"
#include "named.hpp"

namespace smith {

namespace {

constexpr int64_t max_pos = 1 << 30;

llama_pos position(int64_t p) {
    return static_cast<llama_pos>(p);
}

llama_seq_id sequence(int64_t seq_id) {
    return static_cast<llama_seq_id>(seq_id);
}

}  // namespace

void Context::check_seq(int64_t seq_id) const {
    in_range("seq_id", seq_id, 0, n_seq_max() - 1);
}

int32_t Context::take_sequence() {
    const std::lock_guard<std::mutex> lock(sequences_);
    const auto                        free = std::find(taken_.begin(), taken_.end(), false);
    if (free == taken_.end()) {
        throw Error("InvalidOption", "All " + std::to_string(n_seq_max()) + " sequences of the context are in use. Close a "
                                     "session that shares it, or make the context for more of them.");
    }
    *free = true;
    return static_cast<int32_t>(free - taken_.begin());
}

void Context::give_sequence(int32_t seq_id) {
    const std::lock_guard<std::mutex> lock(sequences_);
    given_.push_back(seq_id);
}

void Context::clear_given() {
    const std::lock_guard<std::mutex> lock(sequences_);
    for (const int32_t seq_id : given_) {
        if (llama_memory_t memory = llama_get_memory(context_.get())) {
            llama_memory_seq_rm(memory, seq_id, -1, -1);
        }
        taken_[static_cast<std::size_t>(seq_id)] = false;
    }
    given_.clear();
}

void Context::check_range(int64_t p0, int64_t p1) const {
    in_range("p0", p0, -1, max_pos);
    in_range("p1", p1, -1, max_pos);
    if (p1 >= 0 && p0 > p1) {
        throw Error("InvalidOption", "The positions from p0=" + std::to_string(p0) + " to p1=" + std::to_string(p1) +
                                         " are no range. p0 comes first; -1 means from the start, and to the end.");
    }
}

void Context::memory_clear(bool data) {
    const Servers::Turn turn(model_->servers());  // clearing the data sends messages; the rest of this file changes indices
    llama_memory_clear(llama_get_memory(context_.get()), data);
}

bool Context::seq_rm(int64_t seq_id, int64_t p0, int64_t p1) {
    need_memory();
    check_range(p0, p1);
    if (seq_id != -1) {
        check_seq(seq_id);
    }
    return llama_memory_seq_rm(llama_get_memory(context_.get()), sequence(seq_id), position(p0), position(p1));
}

void Context::seq_cp(int64_t from, int64_t to, int64_t p0, int64_t p1) {
    need_memory();
    check_seq(from);
    check_seq(to);
    check_range(p0, p1);
    if (from == to) {
        return;
    }
    llama_memory_t memory = llama_get_memory(context_.get());
    const int64_t  end    = llama_memory_seq_pos_max(memory, sequence(from));
    const bool     whole  = p0 <= 0 && (p1 < 0 || p1 > end);
    if (!whole && !kv_unified_) {
        throw Error("InvalidOption", "Only a whole sequence can be copied, for each has a cache of its own. Copy all and "
                                     "seq_rm() the rest, or make the context with kv_unified=True.");
    }
    if (!whole && (llama_model_is_recurrent(model_->get()) || llama_model_is_hybrid(model_->get()))) {
        throw Error("InvalidOption", "This model's memory is a state, of which no part can be copied. Copy the whole sequence.");
    }
    if (!kv_unified_) {  // the copy replaces all that is in the other one's cache
        llama_memory_seq_rm(memory, sequence(to), -1, -1);
    }
    llama_memory_seq_cp(memory, sequence(from), sequence(to), whole ? -1 : position(p0), whole ? -1 : position(p1));
}

void Context::seq_keep(int64_t seq_id) {
    need_memory();
    check_seq(seq_id);
    llama_memory_t memory = llama_get_memory(context_.get());
    for (int32_t other = 0; other < n_seq_max(); other++) {  // upstream's looks at one cache, where each sequence has its own
        if (other != seq_id) {
            llama_memory_seq_rm(memory, other, -1, -1);
        }
    }
    llama_memory_seq_keep(memory, sequence(seq_id));
}

bool Context::can_shift() const {
    llama_memory_t memory = llama_get_memory(context_.get());
    return memory != nullptr && llama_memory_can_shift(memory);
}

static void need_shift(const Context & context) {
    context.need_memory();
    if (!context.can_shift()) {
        throw Error("InvalidOption", "The positions in this model's memory cannot be changed (can_shift is False).");
    }
}

void Context::seq_add(int64_t seq_id, int64_t p0, int64_t p1, int64_t delta) {
    need_shift(*this);
    check_seq(seq_id);
    check_range(p0, p1);
    llama_memory_t memory = llama_get_memory(context_.get());
    const int64_t  begin  = llama_memory_seq_pos_min(memory, sequence(seq_id));
    const int64_t  end    = llama_memory_seq_pos_max(memory, sequence(seq_id));
    if (end < 0) {
        return;  // nothing there
    }
    in_range("delta", delta, -std::max<int64_t>(begin, std::max<int64_t>(p0, 0)), max_pos - end);
    llama_memory_seq_add(memory, sequence(seq_id), position(p0), position(p1), static_cast<llama_pos>(delta));
}

void Context::seq_div(int64_t seq_id, int64_t p0, int64_t p1, int64_t divisor) {
    need_shift(*this);
    check_seq(seq_id);
    check_range(p0, p1);
    in_range("divisor", divisor, 1, max_pos);
    llama_memory_seq_div(llama_get_memory(context_.get()), sequence(seq_id), position(p0), position(p1),
                         static_cast<int>(divisor));
}

int64_t Context::seq_pos_min(int64_t seq_id) const {
    need_memory();
    check_seq(seq_id);
    return llama_memory_seq_pos_min(llama_get_memory(context_.get()), sequence(seq_id));
}

int64_t Context::seq_pos_max(int64_t seq_id) const {
    need_memory();
    check_seq(seq_id);
    return llama_memory_seq_pos_max(llama_get_memory(context_.get()), sequence(seq_id));
}

}  // namespace smith
