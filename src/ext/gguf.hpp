// Our own look at a GGUF file before llama.cpp reads it: some broken files would end the process there.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace smith {

// The parts of a vocabulary on which a tokenizer of upstream's may founder.
struct GgufVocab {
    bool                     listed = false;  // the file has a list of tokens, of texts
    std::string              texts;           // of all tokens, one after another
    std::vector<std::size_t> ends;            // of each of them
    std::vector<int32_t>     types;           // may be fewer than tokens, or none
    std::string              charsmap;        // bytes
};

// Metadata that a model's shape is made of.
struct GgufFacts {
    std::unordered_map<std::string, int64_t>              numbers;  // whole ones; of a list, the largest
    std::unordered_map<std::string, std::vector<int64_t>> lists;    // short ones, of whole numbers
    std::unordered_map<std::string, float>                reals;    // single ones, of 32 bits
    std::unordered_map<std::string, std::string>          texts;    // short ones
    GgufVocab                                             vocab;
};

// Throws ModelNotFound or InvalidModel, with the reason and what to do; returns if the file's structure is sound:
// magic, version, counts, lengths, types, and every tensor inside the file; and if it is to be a model, its architecture
// and types of tensors that an engine can compute with.
GgufFacts check_gguf(const std::string & path, bool model = true);

// The same for all files of a split model, of which `path` is the first. The facts are the first one's.
GgufFacts check_gguf_files(const std::string & path);

}  // namespace smith
