// Models without weights, from bytes or from files, as the extension loads them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "llama.h"

struct FreeModel {
    void operator()(llama_model * model) const { llama_model_free(model); }
};
using SmallModel = std::unique_ptr<llama_model, FreeModel>;

// Null if llama.cpp refuses it. Throws smith::Error if our checks do.
SmallModel load_file(const std::string & path);
SmallModel load_bytes(const uint8_t * data, std::size_t size);

// Those of the folder that the environment variable LLAMASMITH_FUZZ_VOCABS names, in the order of their names.
const std::vector<SmallModel> & sound_models();

// Text to tokens and back, as Model does it. What cannot be said in the vocabulary is no fault.
void use(const llama_model * model, const std::string & text, bool add_special, bool parse_special);
