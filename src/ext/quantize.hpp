// Writing a model anew with smaller weights.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "model_params.hpp"

namespace smith {

struct QuantizeOptions {
    int64_t     n_threads = 1;
    std::string output_tensor_type;    // empty: as the type has it
    std::string token_embedding_type;  // likewise
    bool        allow_requantize       = false;
    bool        quantize_output_tensor = true;
    bool        pure                   = false;
    bool        keep_split             = false;
    bool        dry_run                = false;
    std::vector<std::pair<std::string, std::vector<float>>> imatrix;       // tensor, importance of each column
    std::vector<std::pair<std::string, std::string>>        tensor_types;  // regex of tensor names, ggml type
    std::vector<std::pair<std::string, MetaValue>>          kv_overrides;
    std::vector<int64_t>                                    prune_layers;
    // Told the tensors done and all; returns false to give up. Called without the GIL.
    std::function<bool(int64_t, int64_t)> progress;
};

struct QuantizeResult {
    double mib_before = 0;
    double mib_after  = 0;
};

// `type` is a name of quantize_types(). Writes to a file beside `to`, which takes its place in the end. Throws
// ModelNotFound, InvalidModel, InvalidOption, or Interrupted.
QuantizeResult quantize(const std::string & from, const std::string & to, const std::string & type,
                        const QuantizeOptions & options);

std::vector<std::string> quantize_types();

// An importance matrix of llama-imatrix (GGUF). Throws ModelNotFound or InvalidModel.
std::vector<std::pair<std::string, std::vector<float>>> read_imatrix(const std::string & path);

}  // namespace smith
