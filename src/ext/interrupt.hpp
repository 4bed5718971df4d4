// Ctrl-C while native code runs.
#pragma once

#include <csignal>

namespace smith {

// While this object lives, SIGINT also stops native work: Python's handler alone only sets a flag that nobody looks
// at before the native call returns. Does nothing outside the main thread, where Python would raise nothing, and
// where the process has given SIGINT another meaning.
class InterruptScope {
  public:
    InterruptScope();
    ~InterruptScope();
    InterruptScope(const InterruptScope &)             = delete;
    InterruptScope & operator=(const InterruptScope &) = delete;

    bool installed() const { return installed_; }

  private:
    bool             installed_ = false;
    struct sigaction previous_;
};

// Whether SIGINT has come since the scope was installed or this was last asked. To be asked only by the work under such
// a scope; cheap, for it is asked after every graph node.
bool take_interrupt();

}  // namespace smith
