// One conversation: a sequence of a context, and a loop that generates without needing Python.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "context.hpp"
#include "draft.hpp"
#include "generation.hpp"
#include "sequence.hpp"

namespace smith {

// How a generation treats the memory.
struct MemoryOptions {
    bool    append        = false;  // go on from what the session holds, instead of starting anew
    bool    reuse         = true;   // keep what it has in common with the prompt
    bool    context_shift = false;  // when it is full, drop the older half instead of ending
    int64_t n_keep        = 0;      // ... but never these at the start
};

class Session {
  public:
    // Takes a sequence of the context, within a turn of it. `draft` may be nullptr. Throws InvalidOption.
    Session(std::shared_ptr<Context> context, std::shared_ptr<Draft> draft);
    ~Session();

    Session(const Session &)             = delete;
    Session & operator=(const Session &) = delete;

    // The calling thread's turn, which is one of the context too. Throws what Context::Turn throws.
    class Turn {
      public:
        explicit Turn(Session & session);
        ~Turn();
        Turn(const Turn &)             = delete;
        Turn & operator=(const Turn &) = delete;

      private:
        std::unique_lock<std::mutex> lock_;
        std::optional<Context::Turn> turn_;
        Session &                    session_;
    };

    // Another session that goes on from here, in the same context. What both remember is there once. The draft is not
    // shared: it would have to be told whose text it continues.
    std::unique_ptr<Session> fork();

    // Appends tokens to the memory and evaluates them, after which the context has the logits of the last one. Throws
    // Interrupted when stopped half way: abandon() then forgets what this call has added.
    // With `every_logits`, room for tokens.size() rows of n_vocab floats, the logits after each token are put there.
    void decode(const std::vector<llama_token> & tokens, float * every_logits = nullptr);

    // Appends tokens, too. `out[i]` is the logarithm of the probability of token `first + 1 + i`, given those before it.
    void score(const std::vector<llama_token> & tokens, std::size_t first, float * out);
    void abandon();

    // Begins a generation; advance() then makes at least `n` tokens of it, if it does not end: several at once where a draft
    // was right. May throw Interrupted like decode().
    void        start(const std::vector<llama_token> & prompt, const GenerationOptions & options, const MemoryOptions & memory);
    void        advance(int64_t n);
    Generation & generation();

    // A generation's last token is chosen, but not evaluated until one after it is wanted. This puts it into the memory.
    void settle();

    void reset();  // forgets all tokens
    void set_tokens(const std::vector<llama_token> & tokens);
    const std::vector<llama_token> & tokens() const { return sequence_->tokens(); }
    void close();

    // Stops the call that another thread has under way, within one graph node.
    void cancel() { cancel_.store(true, std::memory_order_relaxed); }
    bool closed() const { return closed_.load() || context_->closed(); }
    bool busy() const { return busy_.load(std::memory_order_relaxed); }

    int32_t   seq_id() const { return sequence_->id(); }
    int32_t   n_past() const { return static_cast<int32_t>(sequence_->size()); }
    int64_t   generation_id() const { return generation_id_; }
    Context & context() { return *context_; }

  private:
    std::vector<llama_token> pending() const;
    void        accept_tokens(const std::vector<llama_token> & tokens);
    void        check_shift(const MemoryOptions & memory) const;
    bool        make_room();
    bool        take(llama_token token);
    void        make_one();
    bool        make_several();
    std::size_t draft_length() const;

    std::shared_ptr<Context>  context_;
    std::shared_ptr<Draft>    draft_;
    std::unique_ptr<Sequence> sequence_;
    std::vector<llama_token>  waiting_;  // still to be evaluated
    std::optional<Generation> generation_;
    MemoryOptions             memory_;
    int64_t                   generation_id_ = 0;

    std::mutex        in_use_;
    std::atomic<bool> cancel_{ false };
    std::atomic<bool> busy_{ false };
    std::atomic<bool> closed_{ false };
};

}  // namespace smith
