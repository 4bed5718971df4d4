// From a user's options to a llama_context, with the checks that upstream lacks or answers by ending the process.
#pragma once

#include "llama.h"
#include "model.hpp"

namespace smith {

struct SessionOptions;

// Throws InvalidOption or NotEnoughMemory.
llama_context_params context_params(const Model & model, const SessionOptions & options);

// Never nullptr: throws InvalidOption with what llama.cpp complained of, or RpcError.
llama_context * make_context(const Model & model, const llama_context_params & params);

}  // namespace smith
