// Our own look at a GGUF file before llama.cpp reads it: some broken files would end the process there.
#pragma once

#include <string>

namespace smith {

// Throws ModelNotFound or InvalidModel, with the reason and what to do; returns if the file's structure is sound:
// magic, version, counts, lengths, types, and every tensor inside the file; and if it is to be a model, its architecture.
void check_gguf(const std::string & path, bool model = true);

}  // namespace smith
