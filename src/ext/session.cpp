#include "session.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "errors.hpp"
#include "named.hpp"

namespace smith {

namespace {

const std::shared_ptr<Context> & decoder_only(const std::shared_ptr<Context> & context) {
    const Model & model = context->model();
    if (llama_model_has_encoder(model.get()) || !llama_model_has_decoder(model.get())) {
        throw Error("InvalidOption", model.path() + " has an encoder; a Session runs decoder-only models.");
    }
    context->need_memory();
    return context;
}

// As llama-perplexity has it: floats, summed up as doubles.
float log_probability(const float * logits, int32_t n_vocab, llama_token token) {
    const float most = *std::max_element(logits, logits + n_vocab);
    double      sum  = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        sum += static_cast<double>(std::exp(logits[i] - most));
    }
    return static_cast<float>(static_cast<double>(logits[token] - most) - std::log(sum));
}

}  // namespace

Session::Session(std::shared_ptr<Context> context, std::shared_ptr<Draft> draft)
    : context_(std::move(context)), draft_(std::move(draft)) {
    sequence_ = std::make_unique<Sequence>(decoder_only(context_));
    if (draft_) {
        draft_->attach(*context_);
        if (static_cast<int64_t>(draft_->n_max()) >= context_->n_outputs_max()) {
            throw Error("InvalidOption", "The draft guesses " + std::to_string(draft_->n_max()) + " tokens; to confirm them the "
                                         "context needs n_outputs_max=" + std::to_string(draft_->n_max() + 1) + " or more.");
        }
    }
}

Session::~Session() = default;

Session::Turn::Turn(Session & session) : session_(session) {
    session.context_->need_own_process();  // in another one the lock may be held by a thread that is not there
    lock_ = std::unique_lock<std::mutex>(session.in_use_, std::try_to_lock);
    if (!lock_.owns_lock()) {
        throw Error("SessionBusy", "Another thread is using this session. Use a session for each thread (they can share the "
                                   "model), or make it with on_busy='wait'.");
    }
    if (session.closed()) {
        throw Error("SessionClosed", "The session is closed. Make a new Session.");
    }
    turn_.emplace(*session.context_, &session.cancel_);
    session.cancel_.store(false, std::memory_order_relaxed);
    session.sequence_->begin();
    session.busy_.store(true, std::memory_order_relaxed);
}

Session::Turn::~Turn() {
    session_.busy_.store(false, std::memory_order_relaxed);
}

std::unique_ptr<Session> Session::fork() {
    settle();
    auto other = std::make_unique<Session>(context_, nullptr);
    other->sequence_->copy(*sequence_, sequence_->size());
    return other;
}

void Session::accept_tokens(const std::vector<llama_token> & tokens) {
    if (tokens.empty()) {
        throw Error("InvalidOption", "No tokens to evaluate: give at least one.");
    }
    context_->model().check_tokens(tokens);
    settle();
    sequence_->need_room(tokens.size());
    waiting_ = tokens;
}

// The last token of a generation, if it has not been evaluated. What waits before the prompt is done is a prompt's rest.
std::vector<llama_token> Session::pending() const {
    return generation_ && generation_->prompt_done ? waiting_ : std::vector<llama_token>();
}

void Session::settle() {
    std::vector<llama_token> last = pending();
    sequence_->need_room(last.size());
    waiting_.clear();
    generation_.reset();
    sequence_->evaluate(last);
}

void Session::decode(const std::vector<llama_token> & tokens, float * every_logits) {
    accept_tokens(tokens);
    const auto         n_vocab = static_cast<std::size_t>(context_->model().n_vocab());
    const LogitsReader copy{ 0, [&](std::size_t first, const float * rows, std::size_t n) {
                                std::memcpy(every_logits + first * n_vocab, rows, n * n_vocab * sizeof(float));
                            } };
    sequence_->evaluate(waiting_, every_logits == nullptr ? nullptr : &copy);
}

void Session::score(const std::vector<llama_token> & tokens, std::size_t first, float * out) {
    accept_tokens(tokens);
    const auto         n_vocab = context_->model().n_vocab();
    const LogitsReader sum_up{ first, [&](std::size_t at, const float * rows, std::size_t n) {
                                  for (std::size_t i = 0; i < n && at + i + 1 < tokens.size(); i++) {
                                      const float * row = rows + static_cast<std::ptrdiff_t>(i) * n_vocab;
                                      out[at + i - first] = log_probability(row, n_vocab, tokens[at + i + 1]);
                                  }
                              } };
    sequence_->evaluate(waiting_, &sum_up);
}

void Session::abandon() {
    waiting_.clear();
    if (generation_ && !generation_->ended()) {
        generation_->stop_reason = "interrupted";
    }
    if (!context_->closed()) {
        sequence_->take_back();
    }
}

void Session::check_shift(const MemoryOptions & memory) const {
    if (!memory.context_shift) {
        return;
    }
    if (!context_->can_shift()) {
        throw Error("InvalidOption", "The memory of " + context_->model().path() + " cannot shift. Leave out context_shift, and "
                                     "give the Session a larger n_ctx.");
    }
    if (context_->n_seq_max() > 1) {
        throw Error("InvalidOption", "A session with room for forks shares its memory with them, so it cannot shift. Make the "
                                     "Session with max_forks=0.");
    }
    in_range("n_keep", memory.n_keep, 0, context_->n_ctx_seq() - 2);
}

void Session::start(const std::vector<llama_token> & prompt, const GenerationOptions & options, const MemoryOptions & memory) {
    Generation next(options, prompt, context_->model());  // may refuse its options: before anything is forgotten
    check_shift(memory);
    std::size_t                    known = 0;
    const std::vector<llama_token> before = memory.append ? pending() : std::vector<llama_token>();
    if (memory.append) {
        sequence_->need_room(before.size() + prompt.size());
    } else if (prompt.size() > static_cast<std::size_t>(context_->n_ctx_seq())) {
        throw Error("ContextFull", "The prompt has " + std::to_string(prompt.size()) + " tokens, the context has room for " +
                                       std::to_string(context_->n_ctx_seq()) + " (n_ctx). Shorten it, or make a Session with a larger n_ctx.");
    } else if (memory.reuse) {
        known = sequence_->reuse(prompt);
    } else {
        sequence_->clear();
    }
    next.timings.reused_tokens = static_cast<int64_t>(known);
    generation_.emplace(std::move(next));
    generation_id_++;
    memory_ = memory;
    waiting_ = before;
    waiting_.insert(waiting_.end(), prompt.begin() + static_cast<std::ptrdiff_t>(known), prompt.end());
}

Generation & Session::generation() {
    if (!generation_) {
        throw Error("InvalidOption", "No generation is under way.");
    }
    return *generation_;
}

// Whether the chosen token that waits fits into the memory, or can be made to.
bool Session::make_room() {
    const auto        limit = static_cast<std::size_t>(context_->n_ctx_seq());
    const std::size_t size  = sequence_->size();
    if (size + 1 <= limit) {
        return true;
    }
    const std::size_t n_keep    = std::min(static_cast<std::size_t>(memory_.n_keep), size);
    const std::size_t n_discard = (size - n_keep) / 2;
    if (!memory_.context_shift || n_discard == 0) {
        generation_->stop_reason = "context";
        return false;
    }
    sequence_->shift(n_keep, n_discard);
    generation_->timings.shifted_tokens += static_cast<int64_t>(n_discard);
    return true;
}

// A chosen token is evaluated only when one after it is wanted: ending a generation costs nothing.
bool Session::take(llama_token token) {
    if (token != LLAMA_TOKEN_NULL) {
        waiting_.assign(1, token);
    }
    return !generation_->ended();
}

void Session::make_one() {
    sequence_->evaluate(waiting_);
    take(generation_->choose(context_->logits(-1), context_->model()));
}

// As many guesses as could be of use.
std::size_t Session::draft_length() const {
    if (!draft_) {
        return 0;
    }
    const std::size_t room = static_cast<std::size_t>(context_->n_ctx_seq()) - sequence_->size() - 1;
    std::size_t       n    = std::min({ draft_->n_max(), room, static_cast<std::size_t>(context_->n_batch() - 1) });
    if (generation_->options.max_tokens >= 0) {
        n = std::min(n, static_cast<std::size_t>(generation_->options.max_tokens - generation_->timings.generated_tokens - 1));
    }
    return n;
}

// Evaluates guesses together with the token that waits. Each is chosen anew from the model's own logits: where the choice
// is another one, the guesses after it are forgotten. False if there are no guesses.
bool Session::make_several() {
    const std::size_t n = draft_length();
    if (n == 0) {
        return false;
    }
    std::vector<llama_token> text = sequence_->tokens();
    text.push_back(waiting_.front());
    std::vector<llama_token> guesses = draft_->propose(text, n);
    guesses.erase(std::find_if(guesses.begin(), guesses.end(), [&](llama_token t) { return t >= context_->model().n_vocab(); }),
                  guesses.end());
    if (guesses.empty()) {
        return false;
    }
    Generation &             g      = *generation_;
    const std::size_t        before = sequence_->size();
    std::vector<llama_token> batch  = waiting_;
    batch.insert(batch.end(), guesses.begin(), guesses.end());
    const float *      rows = nullptr;
    const LogitsReader hold{ 0, [&](std::size_t, const float * all, std::size_t) { rows = all; } };  // one batch: they stay there
    sequence_->evaluate(batch, &hold);  // if it is interrupted, the token that waits still does
    g.timings.drafted_tokens += static_cast<int64_t>(guesses.size());
    const int32_t n_vocab = context_->model().n_vocab();
    std::size_t   right   = 0;
    for (;; right++) {
        const llama_token token = g.choose(rows + static_cast<std::ptrdiff_t>(right) * n_vocab, context_->model());
        const bool        go_on = take(token);
        if (!go_on || right == guesses.size() || token != guesses[right]) {
            break;
        }
        g.timings.accepted_tokens++;
    }
    if (!sequence_->keep(before + 1 + right)) {
        throw Error("DecodeFailed", "This model's memory cannot take guesses back. Do without a draft, or make the Session with "
                                    "n_rs_seq=" + std::to_string(draft_->n_max()) + " or more.");
    }
    return true;
}

void Session::advance(int64_t n) {
    Generation & g = generation();
    try {
        if (!g.prompt_done && !g.ended()) {
            const Stopwatch watch(g.timings.prompt_seconds);
            sequence_->evaluate(waiting_);
            g.prompt_done = true;
            if (g.options.max_tokens == 0) {
                g.stop_reason = "length";
                return;
            }
            take(g.choose(context_->logits(-1), context_->model()));
            n--;
        }
        const Stopwatch watch(g.timings.generate_seconds);
        const int64_t   first = g.timings.generated_tokens;
        while (!g.ended() && g.timings.generated_tokens - first < n && make_room()) {
            if (!make_several()) {
                make_one();
            }
        }
    } catch (const Interrupted &) {
        if (!cancel_.load(std::memory_order_relaxed) && !context_->cancelled()) {
            throw;
        }
        g.stop_reason = "cancelled";
    }
}

void Session::reset() {
    sequence_->clear();
    waiting_.clear();
    generation_.reset();
}

void Session::set_tokens(const std::vector<llama_token> & tokens) {
    waiting_.clear();
    generation_.reset();
    sequence_->set_tokens(tokens);
}

// Without a turn of the context: another session may be computing in it.
void Session::close() {
    context_->need_own_process();
    const std::unique_lock<std::mutex> lock(in_use_, std::try_to_lock);
    if (!lock.owns_lock()) {
        throw Error("SessionBusy", "Another thread is using this session. cancel() it, and close it afterwards.");
    }
    closed_.store(true);
    generation_.reset();
    sequence_.reset();
    draft_.reset();
}

}  // namespace smith
