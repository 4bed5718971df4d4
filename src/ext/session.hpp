// One context of a model with its own thread pool: evaluates tokens, and generates by a loop that never needs Python.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "llama.h"
#include "model.hpp"
#include "pool.hpp"
#include "sampler.hpp"
#include "text.hpp"

namespace smith {

struct SessionOptions {
    int64_t     n_ctx      = 0;  // 0: what the model was trained with
    int64_t     n_batch    = 2048;
    int64_t     n_ubatch   = 512;
    std::string flash_attn = "auto";
    std::string type_k     = "f16";
    std::string type_v     = "f16";
    int64_t     n_outputs_max = 1;  // tokens of one batch whose logits can be had
    // Without a pool: the engine makes so many threads for every graph, and ends them after it.
    int64_t n_threads       = 1;
    int64_t n_threads_batch = 1;
};

struct GenerationOptions {
    int64_t                  max_tokens = -1;  // -1: until the model or the context ends
    SamplerOptions           sampler;
    std::vector<std::string> stop;
    bool                     ignore_eos = false;
    bool                     append     = false;  // go on from what the session holds, instead of starting anew
};

struct Timings {
    int64_t prompt_tokens    = 0;
    double  prompt_seconds   = 0;  // until the first token is chosen
    int64_t generated_tokens = 0;
    double  generate_seconds = 0;  // all tokens after the first
};

// A generation under way, or ended.
struct Generation {
    GenerationOptions        options;
    Sampler                  sampler;
    TextStream               stream;
    std::vector<llama_token> tokens;       // generated, without the one that ended the generation
    std::string              stop_reason;  // empty while under way; else eos, stop, length, context, cancelled, interrupted
    std::string              stop_text;
    Timings                  timings;
    bool                     prompt_done = false;

    explicit Generation(const GenerationOptions & given)
        : options(given), sampler(given.sampler), stream(given.stop) {}
};

class Session {
  public:
    // Throws InvalidOption, NotEnoughMemory, InvalidModel or RpcError. `pool_batch` (for prompts) may be the same as `pool`; both
    // may be nullptr.
    Session(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool, std::shared_ptr<ThreadPool> pool_batch,
            const SessionOptions & options);
    ~Session();

    Session(const Session &)             = delete;
    Session & operator=(const Session &) = delete;

    // The calling thread's turn to use the session. Throws SessionBusy if another thread has it, SessionClosed or
    // ForkedProcess if nobody ever will. Every method below but cancel() is called within one.
    class Turn {
      public:
        explicit Turn(Session & session);

        ~Turn();

        Turn(const Turn &)             = delete;
        Turn & operator=(const Turn &) = delete;

      private:
        std::unique_lock<std::mutex> lock_;
        Session &                    session_;
    };

    // Appends tokens to the memory and evaluates them, after which logits() are those of the last one. Throws
    // Interrupted when stopped half way: abandon() then forgets what this call has added.
    // Throws RpcError if a server of the model is lost: then the session is closed.
    // With `every_logits`, room for tokens.size() rows of n_vocab floats, the logits after each token are put there.
    void decode(const std::vector<llama_token> & tokens, float * every_logits = nullptr);
    void abandon();

    // Begins a generation; advance() then makes up to `n` tokens of it, and may throw Interrupted like decode().
    void        start(const std::vector<llama_token> & prompt, const GenerationOptions & options);
    void        advance(int64_t n);
    Generation & generation();

    void reset();  // forgets all tokens
    void close();  // frees the context; the pool and the model live on with their other users

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

    const float * logits() const;  // n_vocab floats, of the last evaluated token
    int32_t       n_ctx() const;
    int32_t       n_batch() const;
    int32_t       n_past() const { return static_cast<int32_t>(n_past_); }
    int64_t       generation_id() const { return generation_id_; }

    const Model &      model() const { return *model_; }

  private:
    struct Free {
        void operator()(llama_context * context) const { llama_free(context); }
    };

    void need_room(std::size_t n_tokens) const;
    void evaluate_waiting(float * every_logits = nullptr);
    int  evaluate(std::size_t first, std::size_t n, bool every_output);
    int  evaluate_on_servers(const llama_batch & batch);
    bool roll_back(std::size_t n_past);
    void choose_next();
    void free_context();
    bool should_stop() const;
    static bool on_abort(void * data);

    // In the order of making; freed in the other.
    std::shared_ptr<Model>               model_;
    std::shared_ptr<ThreadPool>          pool_;
    std::shared_ptr<ThreadPool>          pool_batch_;
    std::unique_ptr<llama_context, Free> context_;

    std::size_t              n_outputs_max_ = 1;
    std::size_t              n_past_       = 0;  // tokens in the memory
    std::size_t              n_past_start_ = 0;  // ... when the present call began
    std::vector<llama_token> waiting_;           // still to be evaluated
    std::optional<Generation> generation_;
    int64_t                  generation_id_ = 0;

    std::mutex        in_use_;
    std::atomic<bool> cancel_{ false };
    std::atomic<bool> busy_{ false };
    int               made_by_;

    bool                  watching_ = false;
    std::function<bool()> must_stop_;
};

}  // namespace smith
