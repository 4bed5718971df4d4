// The tensors that a GGUF file describes.
#pragma once

#include <cstdint>

#include "gguf_reader.hpp"

namespace smith {

// `in` is where the first one is described. Throws InvalidModel unless each has a type and a shape that are possible, and lies
// inside the file; and if it is a model, a type that an engine computes with.
void check_tensors(GgufReader & in, uint64_t n_tensors, uint32_t alignment, bool model);

}  // namespace smith
