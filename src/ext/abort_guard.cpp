#include "abort_guard.hpp"

#include <cstring>
#include <exception>

#include "ggml.h"

namespace smith {

namespace {

thread_local int guards = 0;

// The message begins with the path of a source file on the machine that compiled it.
const char * without_folder(const char * message) {
    const char * colon = std::strchr(message, ':');
    const char * name  = message;
    for (const char * c = message; colon != nullptr && c < colon; c++) {
        name = *c == '/' ? c + 1 : name;
    }
    return name;
}

void on_abort(const char * message) {
    if (guards > 0 && std::uncaught_exceptions() == 0) {
        throw Aborted(without_folder(message));
    }
    ggml_set_abort_callback(nullptr);
    ggml_abort("llamasmith", 0, "%s", message);  // as without us: message, backtrace, end
}

}  // namespace

AbortGuard::AbortGuard() {
    guards++;
}

AbortGuard::~AbortGuard() {
    guards--;
}

void catch_aborts() {
    ggml_set_abort_callback(on_abort);
}

}  // namespace smith
