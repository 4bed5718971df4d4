// One sequence of a context: the tokens that the memory holds of it, and how more are evaluated.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "batch.hpp"
#include "context.hpp"

namespace smith {

// Who reads logits: those after the tokens from `first` on, as they are evaluated. `read` gets the place among the tokens
// of the first row, the rows of n_vocab numbers, and how many there are.
struct LogitsReader {
    std::size_t                                                       first = 0;
    std::function<void(std::size_t, const float *, std::size_t)> read;
};

class Sequence {
  public:
    // Takes a sequence of the context for itself, within a turn. Throws InvalidOption.
    explicit Sequence(std::shared_ptr<Context> context);
    ~Sequence();
    Sequence(const Sequence &)             = delete;
    Sequence & operator=(const Sequence &) = delete;

    // A call begins: what others have done to the memory since is noticed, and an error takes back to here.
    void begin();

    std::size_t                      size() const { return tokens_.size(); }
    const std::vector<llama_token> & tokens() const { return tokens_; }  // LLAMA_TOKEN_NULL for one that nobody told us
    void set_tokens(const std::vector<llama_token> & tokens);            // of a state that was put back
    int32_t id() const { return id_; }

    // Evaluates tokens, which are taken from `waiting`. Afterwards the context has the logits of the last one, or has shown
    // them to `reader`. Throws ContextFull or DecodeFailed, with the memory as it was when the call began; or Interrupted:
    // then what has been evaluated stays, and the rest is still waiting.
    void evaluate(std::vector<llama_token> & waiting, const LogitsReader * reader = nullptr);
    // Notes tokens that a batch of others has evaluated too.
    template <typename Iterator> void append(Iterator begin, Iterator end) { tokens_.insert(tokens_.end(), begin, end); }
    void need_room(std::size_t n_tokens) const;  // throws ContextFull

    // Forgets all but the first n tokens. Where the memory cannot forget a part (recurrent models), all goes, and false is
    // returned.
    bool keep(std::size_t n);
    void clear();
    bool take_back() { return keep(start_); }  // to where the call began

    // Keeps what the memory has in common with a prompt, but not all of the prompt: the last token's logits are wanted.
    // Returns how many tokens need not be evaluated.
    std::size_t reuse(const std::vector<llama_token> & prompt);
    std::size_t in_common(const std::vector<llama_token> & prompt) const;

    // Takes what another sequence of the context remembers, its first n tokens, in place of what this one does.
    void copy(const Sequence & other, std::size_t n);

    // Drops n_discard tokens after the first n_keep; those behind them move up.
    void shift(std::size_t n_keep, std::size_t n_discard);

  private:
    llama_memory_t memory() const { return llama_get_memory(context_->get()); }

    std::shared_ptr<Context>  context_;
    int32_t                   id_;
    std::unique_ptr<Batch>    batch_;
    std::vector<llama_token>  tokens_;
    std::size_t               start_ = 0;  // tokens in the memory when the call began
    // After a shift the memory of the tokens behind this one depends on tokens that are gone: no prompt has that in common.
    std::size_t exact_ = std::numeric_limits<std::size_t>::max();
    int64_t     epoch_ = 0;  // of the context, when the memory was empty
};

}  // namespace smith
