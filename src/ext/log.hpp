// llama.cpp's log, handed to Python's logging.
#pragma once

#include <string>
#include <type_traits>

#include "pybind.hpp"
#include "shutdown.hpp"

namespace smith {

// Redirects the log of llama.cpp and ggml into a queue. Native threads never touch the interpreter: lines wait until
// some thread holds the GIL anyway.
void capture_log();

// Hands the queued lines to Python. Needs the GIL. Logging runs Python code, and with it Python's signal handlers:
// what those raise (KeyboardInterrupt) is thrown as py::error_already_set, so never call this in a destructor.
void deliver_log();

// The error and warning lines that this thread's native code has logged since the last call.
std::string take_complaints();

// A scope without the GIL.
class Unlocked {
  public:
    Unlocked() : state_(PyEval_SaveThread()) {}
    ~Unlocked() { PyEval_RestoreThread(state_); }
    Unlocked(const Unlocked &)             = delete;
    Unlocked & operator=(const Unlocked &) = delete;

  private:
    PyThreadState * state_;
};

// Does native work without the GIL, and then delivers what it has logged, also if it has failed.
template <typename Work> auto unlocked(Work && work) {
    try {
        const auto locked_out = [&] {
            const NativeWork at_work;
            const Unlocked   scope;
            return work();
        };
        if constexpr (std::is_void_v<decltype(work())>) {
            locked_out();
            deliver_log();
        } else {
            auto result = locked_out();
            deliver_log();
            return result;
        }
    } catch (const py::error_already_set &) {
        throw;  // deliver_log's: work has no Python errors to throw
    } catch (...) {
        deliver_log();
        throw;
    }
}

}  // namespace smith
