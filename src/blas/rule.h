// Which products the BLAS backend takes: those that were measured to be faster there, and those that a user names.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "ggml.h"

// Batches (columns of src1) from which products with weights of a type are taken. A type that is missing: never.
using smith_blas_table = std::map<ggml_type, int64_t>;

// What a user may set: "f32=64,f16=never", a list of type=least batch; types that are not named keep what is measured.
// `none` takes nothing, `upstream` takes all types from a batch of 32, as upstream does.
#define SMITH_BLAS_RULE "LLAMASMITH_BLAS_RULE"

// `text` over `table`. An error in words, or "".
std::string smith_blas_parse(const char * text, smith_blas_table & table);

// Whether the BLAS backend takes a GGML_OP_MUL_MAT. The scheduler asks several times for each node of a graph.
bool smith_blas_takes(const struct ggml_tensor * op);
