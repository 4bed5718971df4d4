// The libraries that this extension runs with are those beside it.
#pragma once

namespace smith {

// Throws pybind11's ImportError if llama.cpp's libraries in this process come from elsewhere: another package has loaded
// its own, or LD_PRELOAD names some. Theirs have other structures, and would end the process sooner or later.
void check_neighbours();

}  // namespace smith
