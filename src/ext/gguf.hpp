// Our own look at a GGUF file before llama.cpp reads it: some broken files would end the process there.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace smith {

// Metadata that a model's shape is made of.
struct GgufFacts {
    std::unordered_map<std::string, int64_t>     numbers;  // whole ones; of a list, the largest
    std::unordered_map<std::string, std::string> texts;    // short ones
};

// Throws ModelNotFound or InvalidModel, with the reason and what to do; returns if the file's structure is sound:
// magic, version, counts, lengths, types, and every tensor inside the file; and if it is to be a model, its architecture.
GgufFacts check_gguf(const std::string & path, bool model = true);

}  // namespace smith
