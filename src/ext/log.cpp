#include "log.hpp"

#include <deque>
#include <mutex>
#include <utility>

#include "llama.h"
#include "pybind.hpp"

namespace smith {

namespace {

struct Line {
    int         level;  // of Python's logging
    std::string text;
};

std::mutex       mutex;
std::deque<Line> queue;
// A flood that nobody collects must not eat the memory; the newest lines are the ones that explain a failure.
constexpr std::size_t max_queued = 4096;
// Bytes of what an error message quotes. The last lines say why.
constexpr std::size_t max_complaints = 4096;

thread_local std::string complaints;
thread_local int         level_of_line = 20;
thread_local bool        hushed        = false;
thread_local const std::function<void(const char *)> * watching = nullptr;

int python_level(ggml_log_level level) {
    switch (level) {
        case GGML_LOG_LEVEL_ERROR: return 40;
        case GGML_LOG_LEVEL_WARN:  return 30;
        // What llama.cpp calls information is some hundred lines for each model: debugging, for a Python program.
        default:                   return 10;
    }
}

bool finalizing() {
#if PY_VERSION_HEX >= 0x030d0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

void on_log(ggml_log_level level, const char * text, void *) {
    if (level != GGML_LOG_LEVEL_CONT) {
        level_of_line = python_level(level);
    }
    if (level_of_line >= 30) {
        complaints += text;
        if (complaints.size() > 16 * max_complaints) {  // from a vocabulary of empty tokens, a line for each
            complaints.erase(0, complaints.size() - max_complaints);
        }
    }
    if (watching != nullptr) {
        (*watching)(text);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    if (level == GGML_LOG_LEVEL_CONT && !queue.empty()) {
        queue.back().text += text;
        return;
    }
    if (queue.size() == max_queued) {
        queue.pop_front();
    }
    queue.push_back({ hushed ? 10 : level_of_line, text });
}

}  // namespace

void capture_log() {
    llama_log_set(on_log, nullptr);
}

std::string take_complaints() {
    std::string taken = std::exchange(complaints, {});
    if (taken.size() > max_complaints) {
        taken.replace(0, taken.size() - max_complaints, "...");
    }
    while (!taken.empty() && taken.back() == '\n') {
        taken.pop_back();
    }
    return taken;
}

void hush_log(bool hush) {
    hushed = hush;
}

LogWatch::LogWatch(std::function<void(const char *)> watcher) : watcher_(std::move(watcher)) {
    watching = &watcher_;
}

LogWatch::~LogWatch() {
    watching = nullptr;
}

void deliver_log() {
    std::deque<Line> lines;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        lines.swap(queue);
    }
    if (lines.empty() || finalizing()) {
        return;
    }
    try {
        const py::object log = py::module_::import("logging").attr("getLogger")("llamasmith.llama_cpp");
        for (Line & line : lines) {
            while (!line.text.empty() && line.text.back() == '\n') {
                line.text.pop_back();
            }
            log.attr("log")(line.level, "%s", to_str(line.text));
        }
    } catch (py::error_already_set & error) {
        if (!error.matches(PyExc_Exception)) {
            throw;  // a signal handler's, not the logging's
        }
        error.discard_as_unraisable("llamasmith log");
    }
}

}  // namespace smith
