// The end of the process while daemon threads compute. exit() destroys what llama.cpp and the engine keep in globals,
// so native work must have ended by then.
#pragma once

namespace smith {

// Hooks into Python's atexit: there, other threads' native work is stopped and waited for.
void register_shutdown();

// Whether the calling thread's work must end now; cheap, for it is asked after every graph node.
bool shutting_down();

// A scope in which native work runs; entered and left with the GIL held. A thread that enters or leaves it once the
// process is ending stays there for ever, as Python 3.14 does with daemon threads: nobody waits for it, and there is
// no Python left to tell of an error.
class NativeWork {
  public:
    NativeWork();
    ~NativeWork();
    NativeWork(const NativeWork &)             = delete;
    NativeWork & operator=(const NativeWork &) = delete;
};

}  // namespace smith
