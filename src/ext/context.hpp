// A context of a model: evaluates batches of many sequences, and remembers their tokens.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "adapter.hpp"
#include "context_params.hpp"
#include "llama.h"
#include "model.hpp"
#include "pool.hpp"

namespace smith {

class Batch;

class Context {
  public:
    // Throws InvalidOption, NotEnoughMemory or InvalidModel. `pool_batch` (for batches of several tokens) may be the same
    // as `pool`; both may be nullptr.
    Context(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool, std::shared_ptr<ThreadPool> pool_batch,
            const ContextOptions & options);
    ~Context();

    Context(const Context &)             = delete;
    Context & operator=(const Context &) = delete;

    // The calling thread's turn to use the context. Throws SessionBusy if another thread has it, SessionClosed or
    // ForkedProcess if nobody ever will. Every method below is called within one, but for cancel() and give_sequence().
    // `cancel`, beside the context's own, says that the work must stop.
    class Turn {
      public:
        explicit Turn(Context & context, const std::atomic<bool> * cancel = nullptr);

        ~Turn();

        Turn(const Turn &)             = delete;
        Turn & operator=(const Turn &) = delete;

      private:
        std::unique_lock<std::mutex> lock_;
        Context &                    context_;
    };

    // Evaluates a batch, by the encoder or the decoder. Throws InvalidOption for what upstream would answer by ending the
    // process, ContextFull, DecodeFailed, or Interrupted: then each sequence of the batch has been taken back to where it
    // was, or cleared if its memory cannot forget a part; taken_back() tells which. Throws RpcError if a server of the
    // model is lost: the context is closed then.
    void process(Batch & batch, bool encode);
    bool taken_back() const { return taken_back_; }

    void close();  // frees the context; the pool and the model live on with their other users

    // A sequence for one user alone; throws InvalidOption if all n_seq_max are taken. What is given back, by any thread at
    // any time, is cleared when the next turn begins.
    int32_t take_sequence();
    void    give_sequence(int32_t seq_id);

    // What stops the work of `leader` stops ours too: a draft's, which is computed in the midst of it. nullptr: no longer.
    void follow(const Context * leader) { leader_ = leader; }

    // Stops the call that another thread has under way, within one graph node.
    void cancel() { cancel_.store(true, std::memory_order_relaxed); }
    bool cancelled() const { return cancel_.load(std::memory_order_relaxed); }

    bool closed() const { return !context_; }
    bool busy() const { return busy_.load(std::memory_order_relaxed); }  // some thread has its turn

    // Whether SIGINT concerns this call (only in the thread where Python runs its handlers), and whom to ask then
    // whether the work must stop.
    void watch_interrupts(bool watch, std::function<bool()> must_stop) {
        watching_  = watch;
        must_stop_ = std::move(must_stop);
    }

    // Outputs of the last batch. `row` is a token's place in the batch; -1 is the last output. Throws InvalidOption where
    // there is none.
    const float * logits(int64_t row);      // n_vocab numbers
    const float * embeddings(int64_t row);  // n_embd_out numbers
    const float * pooled(int64_t seq_id, int64_t & size);
    const float * all_logits(int64_t & rows);
    const float * all_embeddings(int64_t & rows);
    // Python's views of outputs, kept by run.hpp, which tells them before outputs change or go.
    std::shared_ptr<void> views;
    // Held by each such array: the memory of outputs is not moved while somebody else has it.
    std::shared_ptr<void> lend() const { return loan_; }

    // Memory. Positions: p0 inclusive, p1 exclusive, -1 for from the start and to the end. seq_id -1: all sequences.
    void    memory_clear(bool data);
    bool    seq_rm(int64_t seq_id, int64_t p0, int64_t p1);
    void    seq_cp(int64_t from, int64_t to, int64_t p0, int64_t p1);
    void    seq_keep(int64_t seq_id);
    void    seq_add(int64_t seq_id, int64_t p0, int64_t p1, int64_t delta);
    void    seq_div(int64_t seq_id, int64_t p0, int64_t p1, int64_t divisor);
    int64_t seq_pos_min(int64_t seq_id) const;
    int64_t seq_pos_max(int64_t seq_id) const;
    bool    can_shift() const;

    // Grows with each change that makes a memory computed before differ from one computed now.
    int64_t epoch() const { return epoch_; }

    // Adapters; the context keeps them alive. A scale of 0 leaves one out.
    void set_adapters(const std::vector<std::pair<std::shared_ptr<LoraAdapter>, float>> & adapters);
    // Layers first to last (from 1, both inclusive) get a row of n_embd numbers each; without data: none.
    void set_control_vector(const float * data, int64_t layers, int64_t n_embd, int64_t first, int64_t last);

    void set_embeddings(bool value);
    void set_causal_attn(bool value);
    void need_own_process() const;  // throws ForkedProcess in a child of the process that made it
    void check_servers();       // throws RpcError if one of the model's is lost
    void need_memory() const;   // throws InvalidOption where the model has none (encoders)
    void need_weights() const;  // throws InvalidOption where no_alloc=True gave none

    int32_t n_ctx() const { return static_cast<int32_t>(llama_n_ctx(context_.get())); }
    int32_t n_ctx_seq() const { return static_cast<int32_t>(llama_n_ctx_seq(context_.get())); }
    int32_t n_batch() const { return static_cast<int32_t>(llama_n_batch(context_.get())); }
    int32_t n_ubatch() const { return static_cast<int32_t>(llama_n_ubatch(context_.get())); }
    int32_t n_seq_max() const { return static_cast<int32_t>(llama_n_seq_max(context_.get())); }
    int64_t n_outputs_max() const { return n_outputs_max_; }
    bool    kv_unified() const { return kv_unified_; }  // all sequences share the cells of one cache

    const Model &                         model() const { return *model_; }
    const std::shared_ptr<Model> &        model_ptr() const { return model_; }
    llama_context *                       get() const { return context_.get(); }
    const std::shared_ptr<llama_context> & shared() const { return context_; }

    void check_seq(int64_t seq_id) const;

  private:
    bool        should_stop() const;
    int         compute(const Batch & batch, bool encode);  // one graph on the pool's threads; llama_decode()'s status
    void        outputs_needed(int64_t rows);  // throws SessionBusy if memory on loan would have to move
    void        clear_given();
    static bool on_abort(void * data);
    bool        take_back(const std::map<int32_t, int32_t> & ends);
    void        check_range(int64_t p0, int64_t p1) const;

    // In the order of making; freed in the other.
    std::shared_ptr<Model>         model_;
    std::unique_ptr<Model::Use>    use_;
    std::shared_ptr<ThreadPool>    pool_;
    std::shared_ptr<ThreadPool>    pool_batch_;
    std::vector<std::shared_ptr<LoraAdapter>> adapters_;
    std::shared_ptr<llama_context> context_;  // arrays in Python may outlive close()

    int64_t               n_outputs_max_;
    int64_t               reserved_;  // numbers that the memory of outputs has held so far
    bool                  embeddings_;
    bool                  causal_;
    bool                  kv_unified_;
    bool                  taken_back_ = true;
    int64_t               epoch_ = 0;
    bool                  lost_ = false;  // a server of the model; closed at the end of the turn
    std::vector<int8_t>   outputs_;  // of the last batch: which tokens have one
    std::shared_ptr<void> loan_;

    std::vector<bool>    taken_;  // sequences that have a user
    std::vector<int32_t> given_;  // ... that had one, and are to be cleared
    std::mutex           sequences_;

    std::mutex        in_use_;
    std::atomic<bool> cancel_{ false };
    const std::atomic<bool> * cancel_too_ = nullptr;
    const Context *           leader_     = nullptr;
    std::atomic<bool> busy_{ false };
    int               made_by_;

    bool                  watching_ = false;
    std::function<bool()> must_stop_;
};

}  // namespace smith
