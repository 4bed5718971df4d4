// Additions to a model's weights: LoRA adapters and control vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "llama.h"
#include "model.hpp"

namespace smith {

// A LoRA adapter of one model, which it keeps alive. Immutable.
class LoraAdapter {
  public:
    // Checks the file, then loads it. Throws ModelNotFound, InvalidModel, InvalidOption.
    LoraAdapter(std::shared_ptr<Model> model, const std::string & path);
    ~LoraAdapter();
    LoraAdapter(const LoraAdapter &)             = delete;
    LoraAdapter & operator=(const LoraAdapter &) = delete;

    llama_adapter_lora *           get() const { return adapter_; }
    const std::shared_ptr<Model> & model() const { return model_; }

    std::vector<std::pair<std::string, std::string>> metadata() const;
    std::vector<llama_token>                         invocation_tokens() const;  // of an activated LoRA; else none

  private:
    std::shared_ptr<Model> model_;
    llama_adapter_lora *   adapter_ = nullptr;
    int                    made_by_;
};

// A control vector as upstream wants it: for each layer from 1 on, n_embd numbers.
struct ControlVector {
    int64_t            n_embd = 0;
    std::vector<float> data;
};

// Reads a GGUF file of tensors direction.<layer>. Throws ModelNotFound or InvalidModel.
ControlVector read_control_vector(const std::string & path);

}  // namespace smith
