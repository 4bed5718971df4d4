// A model's shape, as its metadata and a user's overrides describe it, before llama.cpp believes it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gguf.hpp"
#include "model_params.hpp"

namespace smith {

// Throws InvalidModel for numbers with which llama.cpp would end the process.
void check_shape(const std::string & path, const GgufFacts & facts,
                 const std::vector<std::pair<std::string, MetaValue>> & overrides);

// The same for what only shows once llama.cpp has read it all: numbers without which its graphs cannot be computed.
void check_rope(const std::string & path, const GgufFacts & facts,
                const std::vector<std::pair<std::string, MetaValue>> & overrides, llama_rope_type rope_type);

}  // namespace smith
