// Text to tokens and back, by upstream's tokenizers, kept from what would end the process.
#pragma once

#include <string>
#include <vector>

#include "llama.h"

namespace smith {

// `text` is valid UTF-8, and shorter than 2^30 bytes. Throws InvalidModel if the vocabulary has no token for a part of it, or
// none to begin or end with, InvalidOption for text that no stack is deep enough for, NotEnoughMemory.
std::vector<llama_token> tokenize(const llama_vocab * vocab, const std::string & path, const std::string & text,
                                  bool add_special, bool parse_special);

// All of `tokens` are in the vocabulary.
std::string detokenize(const llama_vocab * vocab, const std::string & path, const std::vector<llama_token> & tokens,
                       bool remove_special, bool unparse_special);

}  // namespace smith
