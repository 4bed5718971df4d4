// What llama.cpp answers by ending the process, answered by an exception where that is safe.
#pragma once

#include <stdexcept>
#include <string>

namespace smith {

// A GGML_ASSERT or GGML_ABORT has been reached. The message says where and which.
class Aborted : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// While one lives, GGML_ASSERT and GGML_ABORT on this thread throw Aborted through upstream's frames. So only around work
// whose half-made results are all dropped, and never around a graph that other threads compute too: they would wait for
// ever. The checks before such work are what a user should meet; this is the net below them.
class AbortGuard {
  public:
    AbortGuard();
    ~AbortGuard();
    AbortGuard(const AbortGuard &)             = delete;
    AbortGuard & operator=(const AbortGuard &) = delete;
};

// To be called once, before llama.cpp does anything.
void catch_aborts();

}  // namespace smith
