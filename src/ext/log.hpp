// llama.cpp's log, handed to Python's logging.
#pragma once

#include <string>

#include "pybind.hpp"

namespace smith {

// Redirects the log of llama.cpp and ggml into a queue. Native threads never touch the interpreter: lines wait until
// some thread holds the GIL anyway.
void capture_log();

// Hands the queued lines to Python. Needs the GIL; never raises.
void deliver_log() noexcept;

// The error and warning lines that this thread's native code has logged since the last call.
std::string take_complaints();

// A scope without the GIL; on leaving it, what was logged meanwhile is delivered.
class Unlocked {
  public:
    Unlocked() : state_(PyEval_SaveThread()) {}

    ~Unlocked() {
        PyEval_RestoreThread(state_);
        deliver_log();
    }

    Unlocked(const Unlocked &)             = delete;
    Unlocked & operator=(const Unlocked &) = delete;

  private:
    PyThreadState * state_;
};

}  // namespace smith
