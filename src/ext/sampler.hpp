// How the next token is chosen from the logits.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "llama.h"

namespace smith {

struct SamplerOptions {
    float    temperature = 0.8f;  // 0: the most likely token
    int32_t  top_k       = 40;    // 0: all
    float    top_p       = 0.95f;
    uint32_t seed        = 0;
};

class Sampler {
  public:
    // Throws InvalidOption.
    explicit Sampler(const SamplerOptions & options);

    // Throws DecodeFailed if the logits hold no number.
    llama_token sample(const float * logits, int32_t n_vocab);

  private:
    struct Free {
        void operator()(llama_sampler * sampler) const { llama_sampler_free(sampler); }
    };

    std::unique_ptr<llama_sampler, Free> chain_;       // none: greedy
    std::vector<llama_token_data>        candidates_;  // kept: half a megabyte for a usual vocabulary
};

}  // namespace smith
