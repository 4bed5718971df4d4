// What a context, or one of its sequences, remembers, as bytes: to go on from there later, or elsewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "llama.h"

namespace smith {

class Context;

// The memory alone; logits are not part of it. With `partial`, of a model with a sliding window or a recurrent state, only
// that part. The bytes carry a checksum and what they fit. Throws InvalidOption or NotEnoughMemory.
std::string save_state(Context & context, std::optional<int64_t> seq_id, bool partial);

// Puts it back, into any sequence. Throws InvalidState for bytes that are damaged or of another model or kind of context:
// then the memory (of the sequence, or all of it) is empty.
void load_state(Context & context, const char * bytes, std::size_t size, std::optional<int64_t> seq_id);

// Upstream's files, with the tokens that the state belongs to; llama-server's slots are such files. Throw ModelNotFound
// for files that cannot be read or written, InvalidState for damaged ones.
void save_state_file(Context & context, const std::string & path, const std::vector<llama_token> & tokens,
                     std::optional<int64_t> seq_id);
std::vector<llama_token> load_state_file(Context & context, const std::string & path, std::optional<int64_t> seq_id);

}  // namespace smith
