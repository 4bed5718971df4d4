// A vocabulary, as a file and a user's overrides describe it, before llama.cpp builds a tokenizer from it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gguf.hpp"
#include "model_params.hpp"

namespace smith {

// Throws InvalidModel for vocabularies with which llama.cpp would end the process, never come back, or eat all memory.
void check_vocab(const std::string & path, const GgufFacts & facts,
                 const std::vector<std::pair<std::string, MetaValue>> & overrides);

}  // namespace smith
