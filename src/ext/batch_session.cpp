#include "batch_session.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "errors.hpp"

namespace smith {

BatchSession::BatchSession(std::shared_ptr<Context> context) : context_(std::move(context)) {
    context_->need_memory();
    batch_ = std::make_unique<Batch>(*context_);
    slots_.resize(static_cast<std::size_t>(context_->n_seq_max()));
    for (Slot & slot : slots_) {
        slot.sequence = std::make_unique<Sequence>(context_);
    }
    if (context_->n_outputs_max() < context_->n_seq_max() || context_->n_batch() < context_->n_seq_max()) {
        throw Error("InvalidOption", "n_batch and n_outputs_max must be at least the number of requests at once, " +
                                         std::to_string(context_->n_seq_max()) + ".");
    }
}

int64_t BatchSession::submit(const std::vector<llama_token> & prompt, const GenerationOptions & options) {
    Generation    generation(options, prompt, context_->model());
    const auto    limit = static_cast<int64_t>(context_->n_ctx_seq());
    const auto    size  = static_cast<int64_t>(prompt.size());
    if (size > limit) {
        throw Error("ContextFull", "The prompt has " + std::to_string(size) + " tokens, a request has room for " +
                                       std::to_string(limit) + " (n_ctx). Shorten it, or make a BatchSession with a larger n_ctx.");
    }
    const int64_t most = options.max_tokens < 0 ? limit : std::min(options.max_tokens, limit);
    requests_.emplace(++last_id_, Request{ std::move(generation), prompt, std::min(limit, size + most) });
    queue_.push_back(last_id_);
    return last_id_;
}

BatchSession::Request & BatchSession::request(int64_t id) {
    const auto found = requests_.find(id);
    if (found == requests_.end()) {
        throw Error("InvalidOption", "There is no request " + std::to_string(id) + " in this batch.");
    }
    return found->second;
}

Generation & BatchSession::generation(int64_t id) {
    Request & found = request(id);
    if (found.failure) {
        std::rethrow_exception(found.failure);
    }
    return found.generation;
}

std::size_t BatchSession::n_running() const {
    return static_cast<std::size_t>(std::count_if(slots_.begin(), slots_.end(), [](const Slot & s) { return s.request != 0; }));
}

void BatchSession::cancel(int64_t id) {
    Generation & g = request(id).generation;
    if (!g.ended()) {
        g.stop_reason = "cancelled";
    }
    queue_.erase(std::remove(queue_.begin(), queue_.end(), id), queue_.end());
    for (Slot & slot : slots_) {
        slot.request = slot.request == id ? 0 : slot.request;
    }
}

void BatchSession::drop(int64_t id) {
    if (requests_.count(id) != 0) {
        cancel(id);
        requests_.erase(id);
    }
}

// Where all sequences share the cells, what running requests may grow to must fit beside each other: a request that is let in
// never fails for another one's length. Free slots' memory goes when the room is needed.
bool BatchSession::has_room(const Request & request) {
    if (!context_->kv_unified()) {
        return true;
    }
    int64_t room = context_->n_ctx() - request.room;
    for (const Slot & slot : slots_) {
        room -= slot.request != 0 ? requests_.at(slot.request).room : 0;
    }
    if (room < 0) {
        return false;
    }
    for (Slot & slot : slots_) {
        if (slot.request == 0 && static_cast<int64_t>(slot.sequence->size()) > room) {
            slot.sequence->clear();
        }
        room -= slot.request == 0 ? static_cast<int64_t>(slot.sequence->size()) : 0;
    }
    return true;
}

// The free slot that remembers most of the prompt. Where the sequences share cells, what another one remembers is as good.
BatchSession::Slot * BatchSession::choose_slot(const std::vector<llama_token> & prompt, std::size_t & known) {
    Slot * best = nullptr;
    known       = 0;
    for (Slot & slot : slots_) {
        if (slot.request == 0) {
            const std::size_t n = slot.sequence->in_common(prompt);
            if (best == nullptr || n > known || (n == known && slot.sequence->size() < best->sequence->size())) {
                best  = &slot;
                known = n;
            }
        }
    }
    const Slot * source = nullptr;
    if (context_->kv_unified()) {
        for (const Slot & slot : slots_) {
            const std::size_t n = slot.sequence->in_common(prompt);
            if (n > known) {
                source = &slot;
                known  = n;
            }
        }
    }
    if (source != nullptr) {
        best->sequence->copy(*source->sequence, known);
    }
    return best;
}

void BatchSession::let_in() {
    while (!queue_.empty() && n_running() < slots_.size()) {
        Request & request = requests_.at(queue_.front());
        if (!has_room(request)) {
            break;  // in the order of coming: nobody waits for ever
        }
        std::size_t known = 0;
        Slot &      slot  = *choose_slot(request.waiting, known);
        known             = slot.sequence->reuse(request.waiting);
        request.waiting.erase(request.waiting.begin(), request.waiting.begin() + static_cast<std::ptrdiff_t>(known));
        request.generation.timings.reused_tokens = static_cast<int64_t>(known);
        slot.request                             = queue_.front();
        queue_.pop_front();
    }
}

// First the requests that generate, so that none waits for another one's prompt; then as much of prompts as fits.
std::vector<BatchSession::Part> BatchSession::fill() {
    std::vector<Part> parts;
    batch_->clear();
    for (const bool generating : { true, false }) {
        for (Slot & slot : slots_) {
            if (slot.request == 0 || requests_.at(slot.request).generation.prompt_done != generating) {
                continue;
            }
            const auto &      waiting = requests_.at(slot.request).waiting;
            const std::size_t n = std::min(waiting.size(), static_cast<std::size_t>(context_->n_batch()) - batch_->size());
            if (n == 0) {
                continue;
            }
            const std::size_t first_output = n == waiting.size() ? n - 1 : n;
            batch_->extend(waiting.data(), n, static_cast<int64_t>(slot.sequence->size()), slot.sequence->id(), first_output);
            parts.push_back({ &slot, n, static_cast<int32_t>(batch_->size()) - 1 });
        }
    }
    return parts;
}

// Those whose next token has no room end here.
void BatchSession::check_full() {
    for (Slot & slot : slots_) {
        if (slot.request != 0) {
            Request & request = requests_.at(slot.request);
            if (static_cast<int64_t>(slot.sequence->size() + request.waiting.size()) > context_->n_ctx_seq()) {
                request.generation.stop_reason = "context";
            }
        }
    }
}

void BatchSession::leave() {
    for (Slot & slot : slots_) {
        if (slot.request != 0 && requests_.at(slot.request).generation.ended()) {
            ended_.push_back(slot.request);
            slot.request = 0;
        }
    }
}

// The next token of a request whose prompt has been evaluated. What a sampler throws ends this request alone.
void BatchSession::choose(const Part & part) {
    Request &    request = requests_.at(part.slot->request);
    Generation & g       = request.generation;
    g.prompt_done        = true;
    if (g.options.max_tokens == 0) {
        g.stop_reason = "length";
        return;
    }
    try {
        const llama_token token = g.choose(context_->logits(part.row), context_->model());
        request.waiting.assign(token == LLAMA_TOKEN_NULL ? 0 : 1, token);
    } catch (...) {
        request.failure = std::current_exception();
        g.stop_reason   = "failed";
    }
}

void BatchSession::step() {
    const auto begin = std::chrono::steady_clock::now();
    let_in();
    check_full();
    leave();
    const std::vector<Part> parts = fill();
    if (parts.empty()) {
        return;
    }
    context_->process(*batch_, false);
    for (const Part & part : parts) {
        auto &     waiting = requests_.at(part.slot->request).waiting;
        const auto end     = waiting.begin() + static_cast<std::ptrdiff_t>(part.n);
        part.slot->sequence->append(waiting.begin(), end);
        waiting.erase(waiting.begin(), end);
    }
    for (const Part & part : parts) {
        const Request & request = requests_.at(part.slot->request);
        const bool      first   = !request.generation.prompt_done;
        if (request.waiting.empty()) {
            choose(part);
        }
        Timings &    timings = requests_.at(part.slot->request).generation.timings;
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        (first ? timings.prompt_seconds : timings.generate_seconds) += seconds;
    }
    leave();
}

std::vector<int64_t> BatchSession::advance(int64_t n) {
    for (Slot & slot : slots_) {
        slot.sequence->begin();
    }
    while (n-- > 0 && ended_.empty() && (n_running() != 0 || !queue_.empty())) {
        step();
    }
    return std::exchange(ended_, {});
}

}  // namespace smith
