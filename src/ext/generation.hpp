// A text in the making: how its tokens are chosen, what ends it, how long it took.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model.hpp"
#include "sampler.hpp"
#include "sampler_chain.hpp"
#include "text.hpp"

namespace smith {

struct GenerationOptions {
    int64_t                  max_tokens = -1;  // -1: until the model or the context ends
    SamplerOptions           sampler;
    std::vector<std::string> stop;
    bool                     ignore_eos = false;
    std::shared_ptr<SamplerChain> chain;  // chooses in place of `sampler`
};

struct Timings {
    int64_t prompt_tokens    = 0;
    int64_t reused_tokens    = 0;  // of the prompt, that the memory held already
    double  prompt_seconds   = 0;  // until the first token is chosen
    int64_t generated_tokens = 0;
    double  generate_seconds = 0;  // all tokens after the first
    int64_t drafted_tokens   = 0;  // proposed by a draft ...
    int64_t accepted_tokens  = 0;  // ... and chosen
    int64_t shifted_tokens   = 0;  // dropped to make room
};

// A generation under way, or ended.
struct Generation {
    GenerationOptions        options;
    Sampler                  sampler;
    TextStream               stream;
    std::vector<llama_token> tokens;       // generated, without the one that ended the generation
    std::string              stop_reason;  // empty while under way; else eos, stop, length, context, cancelled, interrupted
    Timings                  timings;
    bool                     prompt_done = false;

    // Throws InvalidOption for options, or a prompt, that cannot be.
    Generation(const GenerationOptions & given, const std::vector<llama_token> & prompt, const Model & model);

    bool ended() const { return !stop_reason.empty(); }

    // Chooses the next token from logits, and decides whether it is the last. Returns it, or LLAMA_TOKEN_NULL for an end
    // that is not part of the text.
    llama_token choose(const float * logits, const Model & model);
};

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

}  // namespace smith
