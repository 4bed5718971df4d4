// How native work runs: without the GIL.
#pragma once

#include <type_traits>

#include "log.hpp"
#include "pybind.hpp"
#include "shutdown.hpp"

namespace smith {

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
