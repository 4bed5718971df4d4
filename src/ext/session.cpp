#include "session.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "context.hpp"
#include "errors.hpp"
#include "interrupt.hpp"
#include "log.hpp"
#include "shutdown.hpp"

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

// Of a session without a pool.
int32_t thread_count(const char * name, int64_t n) {
    if (n < 1 || n > GGML_MAX_N_THREADS) {
        throw Error("InvalidOption", std::string(name) + " is " + std::to_string(n) + ". Allowed: 1 to " +
                                         std::to_string(GGML_MAX_N_THREADS) + ".");
    }
    need_threads(static_cast<int>(n));
    return static_cast<int32_t>(n);
}

}  // namespace

Session::Session(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool,
                 std::shared_ptr<ThreadPool> pool_batch, const SessionOptions & options)
    : model_(std::move(model)), pool_(std::move(pool)), pool_batch_(std::move(pool_batch)), made_by_(getpid()) {
    llama_context_params params = context_params(*model_, options);
    params.n_threads            = pool_ ? pool_->n_threads() : thread_count("n_threads", options.n_threads);
    params.n_threads_batch = pool_ ? pool_batch_->n_threads() : thread_count("n_threads_batch", options.n_threads_batch);
    n_outputs_max_         = params.n_outputs_max;
    params.abort_callback       = on_abort;
    params.abort_callback_data  = this;
    context_.reset(make_context(*model_, params));
    if (pool_) {
        llama_attach_threadpool(context_.get(), pool_->get(), pool_batch_->get());
    }
}

Session::~Session() {
    if (getpid() != made_by_) {
        context_.release();  // in a forked child: see ThreadPool
    }
    free_context();
}

Session::Turn::Turn(Session & session) : lock_(session.in_use_, std::try_to_lock), session_(session) {
    if (getpid() != session.made_by_) {
        throw Error("ForkedProcess", "This session was made before fork(); its threads do not exist in this process. "
                                     "Make a new Session in the child.");
    }
    if (!lock_.owns_lock()) {
        throw Error("SessionBusy", "Another thread is using this session. Use a session for each thread (they can share "
                                   "the model), or a lock around this one.");
    }
    if (!session.context_) {
        throw Error("SessionClosed", "The session is closed. Make a new Session.");
    }
    session.cancel_.store(false, std::memory_order_relaxed);
    session.n_past_start_ = session.n_past_;
    session.busy_.store(true, std::memory_order_relaxed);
}

Session::Turn::~Turn() {
    session_.busy_.store(false, std::memory_order_relaxed);
}

bool Session::should_stop() const {
    return cancelled() || shutting_down() || (watching_ && take_interrupt() && must_stop_());
}

// Called after each node of the graph by the engine's first thread, which is the one that called us.
bool Session::on_abort(void * data) {
    const bool stop = static_cast<const Session *>(data)->should_stop();
    if (stop) {
        hush_log(true);
    }
    return stop;
}

void Session::need_room(std::size_t n_tokens) const {
    const auto limit = static_cast<std::size_t>(n_ctx());
    if (n_tokens > limit - n_past_) {
        throw Error("ContextFull", std::to_string(n_tokens) + " tokens do not fit: the context has room for " +
                                       std::to_string(limit) + " (n_ctx) and holds " + std::to_string(n_past_) +
                                       ". Give fewer, reset() the session, or make one with a larger n_ctx.");
    }
}

// Forgets the tokens from n_past on. Where the model's memory cannot forget a part (recurrent models), all goes, and
// false is returned.
bool Session::roll_back(std::size_t n_past) {
    llama_memory_t memory = llama_get_memory(context_.get());
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
    llama_batch         batch = llama_batch_get_one(waiting_.data() + first, static_cast<int32_t>(n));
    std::vector<int8_t> wanted(every_output ? n : 0, 1);
    if (every_output) {
        batch.logits = wanted.data();
    }
    std::optional<ThreadPool::Turn> turn;
    if (pool_) {
        const bool prompt = n > 1;  // as llama_context chooses between its two pools; a rest of one token takes the other
        turn.emplace(*(prompt ? pool_batch_ : pool_), (prompt ? pool_ : pool_batch_).get());
    }
    return model_->servers().empty() ? llama_decode(context_.get(), batch) : evaluate_on_servers(batch);
}

// Messages to servers are on their way when llama_decode() returns; only then is it known whether they have arrived.
int Session::evaluate_on_servers(const llama_batch & batch) {
    const Servers::Turn turn(model_->servers());
    const int           status = llama_decode(context_.get(), batch);
    llama_synchronize(context_.get());
    try {
        model_->servers().check();
    } catch (const Error &) {
        context_.reset();
        throw;
    }
    return status;
}

void Session::free_context() {
    if (context_) {
        const Servers::Turn turn(model_->servers());
        context_.reset();
    }
}

void Session::evaluate_waiting(float * every_logits) {
    std::size_t done = 0;
    while (done < waiting_.size()) {
        if (should_stop()) {
            waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(done));
            throw Interrupted();
        }
        std::size_t n = std::min(waiting_.size() - done, static_cast<std::size_t>(n_batch()));
        if (every_logits != nullptr) {
            n = std::min(n, n_outputs_max_);
        }
        int status;
        hush_log(false);
        try {
            status = evaluate(done, n, every_logits != nullptr);
        } catch (const Error &) {
            hush_log(false);
            waiting_.clear();
            if (context_) {
                roll_back(n_past_start_);
            }
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
            const auto n_vocab = static_cast<std::size_t>(model_->n_vocab());
            std::memcpy(every_logits + done * n_vocab, llama_get_logits(context_.get()), n * n_vocab * sizeof(float));
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
    model_->check_tokens(tokens);
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
    if (context_ && n_past_ > n_past_start_) {
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
    model_->check_tokens(prompt);
    Generation next(options);  // may refuse its options: before anything is forgotten
    if (options.append) {
        need_room(prompt.size());
    } else if (prompt.size() > static_cast<std::size_t>(n_ctx())) {
        throw Error("ContextFull", "The prompt has " + std::to_string(prompt.size()) + " tokens, the context has room for " +
                                       std::to_string(n_ctx()) + " (n_ctx). Shorten it, or make a Session with a larger n_ctx.");
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
    const llama_token token = g.sampler.sample(logits(), model_->n_vocab());
    if (!g.options.ignore_eos && llama_vocab_is_eog(model_->vocab(), token)) {
        g.stop_reason = "eos";
        return;
    }
    g.tokens.push_back(token);
    g.timings.generated_tokens++;
    g.stream.push(model_->piece(token, false));
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
            if (n_past_ + 1 > static_cast<std::size_t>(n_ctx())) {
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
    llama_memory_clear(llama_get_memory(context_.get()), true);
    n_past_ = n_past_start_ = 0;
    waiting_.clear();
    generation_.reset();
}

void Session::close() {
    generation_.reset();
    free_context();
    pool_.reset();
    pool_batch_.reset();
    model_.reset();
}

const float * Session::logits() const {
    const float * values = llama_get_logits_ith(context_.get(), -1);
    if (values == nullptr) {
        throw Error("DecodeFailed", "llama.cpp gave no logits for the last token.");
    }
    return values;
}

int32_t Session::n_ctx() const {
    return static_cast<int32_t>(llama_n_ctx_seq(context_.get()));
}

int32_t Session::n_batch() const {
    return static_cast<int32_t>(llama_n_batch(context_.get()));
}

}  // namespace smith
