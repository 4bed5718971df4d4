// Weights made F32.
#pragma once

#include <cstdint>

#include "ggml.h"

// `n` weights of one row, which lie at `from` in the form of `type`; `type` is F32 or has a to_float in ggml's traits.
void smith_widen(enum ggml_type type, const void * from, float * to, int64_t n);
