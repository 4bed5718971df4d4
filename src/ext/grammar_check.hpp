// Grammars (GBNF) that llama.cpp's parser and matcher survive.
#pragma once

#include <string>

#include "llama.h"

namespace smith {

// Throws InvalidOption, with the reason and what to do, for a grammar that is none, that is too large, or with which upstream
// would recurse without end.
void check_grammar(const llama_vocab * vocab, const std::string & grammar, const std::string & root);

}  // namespace smith
