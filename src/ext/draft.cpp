#include "draft.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "errors.hpp"
#include "named.hpp"

namespace smith {

namespace {

constexpr int64_t max_draft = 256;
constexpr int64_t max_ngram = 64;
constexpr int32_t max_odd   = 128;  // tokens by which vocabularies may differ in size: padding, added control tokens

struct Guess {
    llama_token token;
    double      p;
};

Guess best_guess(const float * logits, int32_t n) {
    const auto best = std::max_element(logits, logits + n);
    double     sum  = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += std::exp(static_cast<double>(logits[i] - *best));
    }
    return { static_cast<llama_token>(best - logits), 1 / sum };
}

[[noreturn]] void other_vocabulary(const Model & draft, const Model & main, const std::string & how) {
    throw Error("InvalidOption", draft.path() + " cannot draft for " + main.path() + ": " + how +
                                     ". Take a smaller model of the same family, or NgramDraft().");
}

void check_vocabularies(const Model & draft, const Model & main) {
    if (llama_vocab_type(draft.vocab()) != llama_vocab_type(main.vocab())) {
        other_vocabulary(draft, main, "their vocabularies are of different kinds");
    }
    if (std::abs(draft.n_vocab() - main.n_vocab()) > max_odd) {
        other_vocabulary(draft, main, "their vocabularies have " + std::to_string(draft.n_vocab()) + " and " +
                                          std::to_string(main.n_vocab()) + " tokens");
    }
    for (llama_token t = 0; t < std::min(draft.n_vocab(), main.n_vocab()); t++) {
        if (std::strcmp(llama_vocab_get_text(draft.vocab(), t), llama_vocab_get_text(main.vocab(), t)) != 0) {
            other_vocabulary(draft, main, "token " + std::to_string(t) + " is another text in each");
        }
    }
}

}  // namespace

Draft::Draft(int64_t n_max) : n_max_(static_cast<std::size_t>(in_range("n_max", n_max, 1, max_draft))) {}

NgramDraft::NgramDraft(int64_t n_max, int64_t shortest, int64_t longest)
    : Draft(n_max), shortest_(static_cast<std::size_t>(in_range("shortest", shortest, 1, max_ngram))),
      longest_(static_cast<std::size_t>(in_range("longest", longest, shortest, max_ngram))) {}

std::vector<llama_token> NgramDraft::propose(const std::vector<llama_token> & text, std::size_t n) {
    for (std::size_t size = std::min(longest_, text.empty() ? 0 : text.size() - 1); size >= shortest_; size--) {
        const auto tail = text.end() - static_cast<std::ptrdiff_t>(size);
        // The latest place where they stood before: what was said last is the likeliest to come again.
        const auto found = std::find_end(text.begin(), text.end() - 1, tail, text.end());
        if (found != text.end() - 1) {
            const auto next = found + static_cast<std::ptrdiff_t>(size);
            const auto most = std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(n), text.end() - next);
            const auto end  = std::find(next, next + most, LLAMA_TOKEN_NULL);
            return { next, end };
        }
    }
    return {};
}

ModelDraft::ModelDraft(std::shared_ptr<Context> context, int64_t n_max, float p_min)
    : Draft(n_max), context_(std::move(context)), p_min_(in_range("p_min", p_min, 0.0f, 1.0f)) {
    const Context::Turn turn(*context_);
    context_->need_memory();
    sequence_ = std::make_unique<Sequence>(context_);
}

ModelDraft::~ModelDraft() = default;

void ModelDraft::attach(const Context & main) {
    check_vocabularies(context_->model(), main.model());
    main_ = &main;
}

std::vector<llama_token> ModelDraft::propose(const std::vector<llama_token> & text, std::size_t n) {
    const Context::Turn turn(*context_);
    const auto          room = static_cast<std::size_t>(context_->n_ctx_seq());
    if (text.size() >= room) {
        return {};
    }
    n = std::min(n, room - text.size());
    // Tokens of a state that came without them, and those that only the other vocabulary has, cannot be evaluated.
    const int32_t n_vocab = context_->model().n_vocab();
    if (std::any_of(text.begin(), text.end(), [n_vocab](llama_token t) { return t < 0 || t >= n_vocab; })) {
        return {};
    }
    struct Follow {
        explicit Follow(Context & of, const Context * main) : context(of) { context.follow(main); }
        ~Follow() { context.follow(nullptr); }
        Context & context;
    };
    const Follow following(*context_, main_);
    sequence_->begin();
    const auto               known = static_cast<std::ptrdiff_t>(sequence_->reuse(text));
    std::vector<llama_token> waiting(text.begin() + known, text.end());
    std::vector<llama_token> guesses;
    while (guesses.size() < n) {
        sequence_->evaluate(waiting);
        const Guess guess = best_guess(context_->logits(-1), n_vocab);
        if (!(guess.p >= p_min_)) {
            break;
        }
        guesses.push_back(guess.token);
        waiting.assign(1, guess.token);
    }
    return guesses;
}

}  // namespace smith
