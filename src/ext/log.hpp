// llama.cpp's log, handed to Python's logging.
#pragma once

#include <functional>
#include <string>

namespace smith {

// Redirects the log of llama.cpp and ggml into a queue. Native threads never touch the interpreter: lines wait until
// some thread holds the GIL anyway.
void capture_log();

// Hands the queued lines to Python. Needs the GIL. Logging runs Python code, and with it Python's signal handlers:
// what those raise (KeyboardInterrupt) is thrown as py::error_already_set, so never call this in a destructor.
void deliver_log();

// The error and warning lines that this thread's native code has logged since the last call.
std::string take_complaints();

// Until taken back, what this thread's native code complains of is only fit for debugging: llama.cpp reports work that
// was stopped on request as an error, several times. take_complaints() has it all the same.
void hush_log(bool hush);

// hush_log() for as long as this object lives: for what ends in an exception that says the same.
class LogHush {
  public:
    LogHush() { hush_log(true); }
    ~LogHush() { hush_log(false); }
    LogHush(const LogHush &)             = delete;
    LogHush & operator=(const LogHush &) = delete;
};

// While this object lives, each line that this thread's native code logs is shown to `watcher` too. What the watcher throws
// goes through the native code that has logged, so it must be a place where that code is ready for exceptions.
class LogWatch {
  public:
    explicit LogWatch(std::function<void(const char *)> watcher);
    ~LogWatch();
    LogWatch(const LogWatch &)             = delete;
    LogWatch & operator=(const LogWatch &) = delete;

  private:
    std::function<void(const char *)> watcher_;
};

}  // namespace smith
