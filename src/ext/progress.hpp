// A Python callback for progress, called from native work that runs without the GIL.
#pragma once

#include <chrono>
#include <exception>
#include <utility>

#include "pybind.hpp"
#include "shutdown.hpp"

namespace smith {

// Asks Python at most 20 times a second, and once at the end: signals first, then the user's callback.
class ProgressBridge {
  public:
    explicit ProgressBridge(py::object callback) : callback_(std::move(callback)) {}

    bool operator()(float fraction) {
        const auto now = std::chrono::steady_clock::now();
        if (fraction < 1.0f && now - last_ < std::chrono::milliseconds(50)) {
            return true;
        }
        last_ = now;
        if (smith::shutting_down()) {
            return false;
        }
        const py::gil_scoped_acquire locked;
        try {
            if (PyErr_CheckSignals() != 0) {
                throw py::error_already_set();
            }
            if (!callback_.is_none()) {
                callback_(fraction);
            }
            return true;
        } catch (...) {
            raised_ = std::current_exception();  // upstream's frames lie between here and the caller
            return false;
        }
    }

    void rethrow() {
        if (raised_) {
            std::rethrow_exception(std::exchange(raised_, nullptr));
        }
    }

  private:
    py::object                            callback_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
    std::exception_ptr                    raised_;
};

}  // namespace smith
