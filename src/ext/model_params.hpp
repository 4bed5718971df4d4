// From a user's options to llama_model_params, with the checks that upstream lacks or answers by ending the process.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "llama.h"
#include "rpc.hpp"

namespace smith {

using MetaValue = std::variant<bool, int64_t, double, std::string>;

struct ModelOptions {
    bool        vocab_only      = false;
    bool        check_tensors   = false;
    bool        use_extra_bufts = true;
    bool        no_host         = false;
    bool        no_alloc        = false;
    bool        load_mtp        = true;
    int64_t     n_gpu_layers    = -1;
    int64_t     main_gpu        = 0;
    std::string split_mode      = "layer";
    std::string load_mode       = "auto";
    std::string lazy_mode       = "auto";
    std::vector<float>                               tensor_split;
    std::optional<std::vector<std::string>>          devices;    // names; none: all there are
    std::vector<std::string>                         rpc;        // "address:port" of servers that take a part of it
    std::vector<std::pair<std::string, std::string>> placement;  // regex of tensor names, device or buffer type
    std::vector<std::pair<std::string, MetaValue>>   kv_overrides;
    // Told the fraction loaded, 0 to 1; returns false to give up. Called without the GIL.
    std::function<bool(float)> progress;
};

// llama_model_params and what they point to. Lives as long as the model, which keeps some of the pointers.
class ModelParams {
  public:
    // Throws InvalidOption.
    explicit ModelParams(const ModelOptions & options);
    ModelParams(const ModelParams &)             = delete;
    ModelParams & operator=(const ModelParams &) = delete;

    // The servers' devices come before those that were named, or before this machine's GPUs. Throws InvalidOption.
    void add(const Servers & servers);

    llama_model_params params;

  private:
    std::vector<ggml_backend_dev_t>               devices_;
    std::vector<std::string>                      patterns_;
    std::vector<llama_model_tensor_buft_override> placement_;
    std::vector<llama_model_kv_override>          overrides_;
    std::vector<float>                            split_;
};

// One entry of upstream's list, also for quantising. Throws InvalidOption.
llama_model_kv_override kv_override(const std::string & key, const MetaValue & value);

}  // namespace smith
