#include "session.hpp"

#include <algorithm>
#include <cstring>

#include "errors.hpp"
#include "log.hpp"

namespace smith {

namespace {

// Adds the time of a scope to a sum, also when the scope is left by an exception.
class Stopwatch {
  public:
    explicit Stopwatch(double & seconds) : seconds_(seconds), start_(Clock::now()) {}

    ~Stopwatch() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }

    Stopwatch(const Stopwatch &)             = delete;
    Stopwatch & operator=(const Stopwatch &) = delete;

  private:
    using Clock = std::chrono::steady_clock;
    double &          seconds_;
    Clock::time_point start_;
};

}  // namespace

static const std::shared_ptr<Model> & decoder_only(const std::shared_ptr<Model> & model) {
    if (llama_model_has_encoder(model->get()) || !llama_model_has_decoder(model->get())) {
        throw Error("InvalidOption", model->path() + " has an encoder; a Session runs decoder-only models.");
    }
    return model;
}

Session::Session(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool,
                 std::shared_ptr<ThreadPool> pool_batch, const ContextOptions & options)
    : Context(decoder_only(model), std::move(pool), std::move(pool_batch), options) {
    need_memory();
    batch_ = std::make_unique<Batch>(*this);
}

// What the memory holds may have been changed by Context's methods since the last call.
void Session::begin() {
    n_past_ = n_past_start_ = static_cast<std::size_t>(llama_memory_seq_pos_max(llama_get_memory(get()), 0) + 1);
}

void Session::need_room(std::size_t n_tokens) const {
    const auto limit = static_cast<std::size_t>(n_ctx_seq());
    if (n_tokens > limit - n_past_) {
        throw Error("ContextFull", std::to_string(n_tokens) + " tokens do not fit: the context has room for " +
                                       std::to_string(limit) + " (n_ctx) and holds " + std::to_string(n_past_) +
                                       ". Give fewer, reset() the session, or make one with a larger n_ctx.");
    }
}

// Forgets the tokens from n_past on. Where the model's memory cannot forget a part (recurrent models), all goes, and
// false is returned.
bool Session::roll_back(std::size_t n_past) {
    llama_memory_t memory = llama_get_memory(get());
    n_past_               = n_past;
    if (llama_memory_seq_rm(memory, 0, static_cast<llama_pos>(n_past), -1)) {
        return true;
    }
    llama_memory_clear(memory, true);
    n_past_ = n_past_start_ = 0;
    return false;
}

// One batch of what waits; returns llama_decode()'s status.
int Session::evaluate(std::size_t first, std::size_t n, bool every_output) {
    batch_->clear();
    batch_->extend(waiting_.data() + first, n, static_cast<int64_t>(n_past_), 0, every_output);
    return compute(*batch_, false);
}

void Session::evaluate_waiting(float * every_logits) {
    std::size_t done = 0;
    need_weights();
    outputs_needed(every_logits == nullptr ? 1 : std::min<int64_t>(n_batch(), n_outputs_max()));
    while (done < waiting_.size()) {
        if (should_stop()) {
            waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(done));
            throw Interrupted();
        }
        std::size_t n = std::min(waiting_.size() - done, static_cast<std::size_t>(n_batch()));
        if (every_logits != nullptr) {
            n = std::min(n, static_cast<std::size_t>(n_outputs_max()));
        }
        int status;
        hush_log(false);
        try {
            status = evaluate(done, n, every_logits != nullptr);
        } catch (const Error &) {
            hush_log(false);
            waiting_.clear();
            roll_back(n_past_start_);
            throw;
        } catch (const std::exception & error) {
            hush_log(false);
            waiting_.clear();
            roll_back(n_past_start_);
            throw Error("DecodeFailed", "llama.cpp failed to evaluate " + std::to_string(n) + " tokens: " +
                                            error.what() + ". The session's memory is as it was before the call.");
        }
        hush_log(false);
        if (status == 2) {
            // Parts of this batch may be in the memory: what is kept is what earlier batches have completed.
            waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(done));
            if (!roll_back(n_past_)) {
                waiting_.clear();
                throw Error("DecodeFailed", "Stopped in the middle of a batch, which this model's memory cannot take back: "
                                            "the session's memory had to be cleared.");
            }
            throw Interrupted();
        }
        if (status != 0) {
            waiting_.clear();
            raise_for_decode(status, static_cast<int>(n), roll_back(n_past_start_));
        }
        if (every_logits != nullptr) {
            const auto n_vocab = static_cast<std::size_t>(model().n_vocab());
            std::memcpy(every_logits + done * n_vocab, llama_get_logits(get()), n * n_vocab * sizeof(float));
        }
        done    += n;
        n_past_ += n;
    }
    waiting_.clear();
}

void Session::decode(const std::vector<llama_token> & tokens, float * every_logits) {
    if (tokens.empty()) {
        throw Error("InvalidOption", "No tokens to evaluate: give at least one.");
    }
    model().check_tokens(tokens);
    need_room(tokens.size());
    generation_.reset();
    waiting_ = tokens;
    evaluate_waiting(every_logits);
}

void Session::abandon() {
    waiting_.clear();
    if (generation_ && generation_->stop_reason.empty()) {
        generation_->stop_reason = "interrupted";
    }
    if (n_past_ > n_past_start_) {
        roll_back(n_past_start_);
    }
}

void Session::start(const std::vector<llama_token> & prompt, const GenerationOptions & options) {
    if (prompt.empty()) {
        throw Error("InvalidOption", "The prompt has no tokens: give at least one character or token.");
    }
    if (options.max_tokens < -1) {
        throw Error("InvalidOption", "max_tokens is " + std::to_string(options.max_tokens) +
                                         ". Allowed: 0 and more, or None for as many as fit.");
    }
    for (const std::string & stop : options.stop) {
        if (stop.empty()) {
            throw Error("InvalidOption", "A stop string is empty; it would end every text at once.");
        }
    }
    model().check_tokens(prompt);
    Generation next(options);  // may refuse its options: before anything is forgotten
    if (options.append) {
        need_room(prompt.size());
    } else if (prompt.size() > static_cast<std::size_t>(n_ctx_seq())) {
        throw Error("ContextFull", "The prompt has " + std::to_string(prompt.size()) + " tokens, the context has room for " +
                                       std::to_string(n_ctx_seq()) + " (n_ctx). Shorten it, or make a Session with a larger n_ctx.");
    } else {
        reset();
    }
    next.timings.prompt_tokens = static_cast<int64_t>(prompt.size());
    generation_.emplace(std::move(next));
    generation_id_++;
    waiting_ = prompt;
}

Generation & Session::generation() {
    if (!generation_) {
        throw Error("InvalidOption", "No generation is under way.");
    }
    return *generation_;
}

// Chooses the next token from the logits, and decides whether it is the last.
void Session::choose_next() {
    Generation &      g     = *generation_;
    const llama_token token = g.options.chain ? g.options.chain->sample(last_logits(), model())
                                                : g.sampler.sample(last_logits(), model().n_vocab());
    if (!g.options.ignore_eos && llama_vocab_is_eog(model().vocab(), token)) {
        g.stop_reason = "eos";
        return;
    }
    g.tokens.push_back(token);
    g.timings.generated_tokens++;
    g.stream.push(model().piece(token, false));
    if (g.stream.stopped()) {
        g.stop_reason = "stop";
    } else if (g.timings.generated_tokens == g.options.max_tokens) {
        g.stop_reason = "length";
    }
    // Evaluated only when a token after it is wanted: ending a generation costs nothing.
    waiting_.assign(1, token);
}

void Session::advance(int64_t n) {
    Generation & g = generation();
    try {
        if (!g.prompt_done && g.stop_reason.empty()) {
            const Stopwatch watch(g.timings.prompt_seconds);
            evaluate_waiting();
            g.prompt_done = true;
            if (g.options.max_tokens == 0) {
                g.stop_reason = "length";
                return;
            }
            choose_next();
            n--;
        }
        const Stopwatch watch(g.timings.generate_seconds);
        for (; n > 0 && g.stop_reason.empty(); n--) {
            if (n_past_ + 1 > static_cast<std::size_t>(n_ctx_seq())) {
                g.stop_reason = "context";
                break;
            }
            evaluate_waiting();
            choose_next();
        }
    } catch (const Interrupted &) {
        if (!cancelled()) {
            throw;
        }
        g.stop_reason = "cancelled";
        waiting_.clear();
    }
}

void Session::reset() {
    llama_memory_clear(llama_get_memory(get()), true);
    n_past_ = n_past_start_ = 0;
    waiting_.clear();
    generation_.reset();
}

void Session::close() {
    generation_.reset();
    batch_.reset();
    Context::close();
}

const float * Session::last_logits() const {
    const float * values = llama_get_logits_ith(get(), -1);
    if (values == nullptr) {
        throw Error("DecodeFailed", "llama.cpp gave no logits for the last token.");
    }
    return values;
}

}  // namespace smith
