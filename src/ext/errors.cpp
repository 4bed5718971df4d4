#include "errors.hpp"

#include "pybind.hpp"

namespace smith {

void raise_for_decode(int status, int n_tokens, bool rolled_back) {
    const std::string state = rolled_back ? "The session's memory is as it was before the call."
                                          : "The session's memory had to be cleared.";
    const std::string given = "a batch of " + std::to_string(n_tokens) + " tokens";
    switch (status) {
        case 0:
            return;
        case 1:
            throw Error("ContextFull", "No room in the KV cache for " + given + ". " + state +
                                           " Use a larger n_ctx, or reset() the session.");
        case 2:
            throw Interrupted();
        case -1:
            throw Error("InvalidOption", "llama.cpp refused " + given + " as invalid. " + state);
        default:
            throw Error("DecodeFailed", "llama.cpp failed to evaluate " + given + " (status " +
                                            std::to_string(status) + "). " + state);
    }
}

static void raise_in_python(const Error & error) {
    const py::object type = py::module_::import("llamasmith.errors").attr(error.name());
    PyErr_SetObject(type.ptr(), to_str(error.what()).ptr());
}

void register_errors() {
    py::register_local_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) {
                std::rethrow_exception(thrown);
            }
        } catch (const Error & error) {
            raise_in_python(error);
        }
    });
}

}  // namespace smith
