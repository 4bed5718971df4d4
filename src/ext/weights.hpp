// How much of a model's weights one token needs.
#pragma once

#include <cstdint>

namespace smith {

class Model;

// Bytes of weights that are read to generate one token after another: everything, but of the embedding table one row
// where the output has a table of its own, and of the experts those in use. Reads the headers of the model's files.
// Throws ModelNotFound or InvalidModel if they are no longer what they were.
int64_t bytes_per_token(const Model & model);

}  // namespace smith
