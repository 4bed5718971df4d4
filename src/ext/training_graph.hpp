// Whether a model's graph can be trained.
#pragma once

#include <cstddef>

#include "ggml.h"

namespace smith {

// Bytes that one step needs, at most, besides what the optimiser keeps for each weight.
std::size_t step_bytes(ggml_cgraph * graph);

// Throws InvalidOption where a gradient would reach an operation for which upstream has no backward pass, or one with
// operands that the backward pass does not take: it ends the process for these. The weights to train are marked
// (ggml_set_param()); `graph` is the forward pass, of which the last node is the logits.
void check_trainable(ggml_cgraph * graph);

}  // namespace smith
