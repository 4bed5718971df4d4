// Samplers that are not llama.cpp's.
#pragma once

#include <exception>
#include <memory>

#include "llama.h"

namespace smith {

// A sampler that is not llama.cpp's. Its methods may throw; the chain's caller gets the exception.
class CustomSampler {
  public:
    virtual ~CustomSampler() = default;
    virtual void                           apply(llama_token_data_array & candidates) = 0;
    virtual void                           accept(llama_token token)                  = 0;
    virtual void                           reset()                                    = 0;
    virtual std::shared_ptr<CustomSampler> clone() const                              = 0;
};

// For a chain of llama.cpp's. Upstream's frames lie between the sampler and the chain's caller, so what it throws is kept
// in `failure`, and it is not called again until that is empty.
llama_sampler * make_custom(std::shared_ptr<CustomSampler> sampler, std::shared_ptr<std::exception_ptr> failure);

}  // namespace smith
