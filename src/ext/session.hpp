// One context of a model with its own thread pool: evaluates tokens, and generates by a loop that never needs Python.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "batch.hpp"
#include "context.hpp"
#include "sampler.hpp"
#include "sampler_chain.hpp"
#include "text.hpp"

namespace smith {

struct GenerationOptions {
    int64_t                  max_tokens = -1;  // -1: until the model or the context ends
    SamplerOptions           sampler;
    std::vector<std::string> stop;
    bool                     ignore_eos = false;
    bool                     append     = false;  // go on from what the session holds, instead of starting anew
    std::shared_ptr<SamplerChain> chain;          // chooses in place of `sampler`
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

// A context of one sequence with a loop that generates.
class Session : public Context {
  public:
    // Throws InvalidOption, NotEnoughMemory or InvalidModel.
    Session(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool, std::shared_ptr<ThreadPool> pool_batch,
            const ContextOptions & options);

    // Appends tokens to the memory and evaluates them, after which last_logits() are those of the last one. Throws
    // Interrupted when stopped half way: abandon() then forgets what this call has added.
    // With `every_logits`, room for tokens.size() rows of n_vocab floats, the logits after each token are put there.
    void decode(const std::vector<llama_token> & tokens, float * every_logits = nullptr);
    void abandon() override;

    // Begins a generation; advance() then makes up to `n` tokens of it, and may throw Interrupted like decode().
    void        start(const std::vector<llama_token> & prompt, const GenerationOptions & options);
    void        advance(int64_t n);
    Generation & generation();

    void reset();  // forgets all tokens
    void close() override;

    const float * last_logits() const;  // n_vocab floats, of the last evaluated token
    int32_t       n_past() const { return static_cast<int32_t>(n_past_); }
    int64_t       generation_id() const { return generation_id_; }

  private:
    void begin() override;
    void need_room(std::size_t n_tokens) const;
    void evaluate_waiting(float * every_logits = nullptr);
    int  evaluate(std::size_t first, std::size_t n, bool every_output);
    bool roll_back(std::size_t n_past);
    void choose_next();

    std::unique_ptr<Batch>    batch_;
    std::size_t               n_past_       = 0;  // tokens in the memory
    std::size_t               n_past_start_ = 0;  // ... when the present call began
    std::vector<llama_token>  waiting_;           // still to be evaluated
    std::optional<Generation> generation_;
    int64_t                   generation_id_ = 0;
};

}  // namespace smith
