// How a context computes for Python.
#pragma once

#include <optional>

#include "context.hpp"
#include "interrupt.hpp"
#include "pybind.hpp"
#include "unlocked.hpp"

namespace smith {

// Remembers a view (llamasmith.views.View) of the context's outputs, without keeping it alive.
inline void begin_view(Context & context, const py::object & view) {
    if (!context.views) {
        const auto release = [](py::object * set) {
            const py::gil_scoped_acquire locked;  // contexts are freed without it
            delete set;
        };
        context.views = std::shared_ptr<py::object>(new py::object(py::module_::import("weakref").attr("WeakSet")()), release);
    }
    std::static_pointer_cast<py::object>(context.views)->attr("add")(view);
}

// Before outputs change, with the GIL: Python's views of them end.
inline void end_views(Context & context) {
    if (context.views) {
        const auto set = std::static_pointer_cast<py::object>(std::exchange(context.views, nullptr));
        for (const py::handle view : py::list(*set)) {
            view.attr("_expire")();
        }
    }
}

// Runs native work without the GIL. Python's signal handlers run in the midst of it, when SIGINT comes: if they raise,
// the work ends and `abandon` forgets what this call has begun; if not, it goes on as if nothing had been.
template <typename Work, typename Abandon> void run(Context & context, Work && work, Abandon && abandon) {
    end_views(context);
    std::optional<py::error_already_set> raised;
    const InterruptScope                 scope;
    context.watch_interrupts(scope.installed(), [&raised] {
        const py::gil_scoped_acquire locked;
        if (!raised && PyErr_CheckSignals() != 0) {
            raised.emplace();
        }
        return raised.has_value();
    });
    try {
        unlocked(work);  // which touches the context's own memory alone
        if (!raised) {
            return;
        }
    } catch (const py::error_already_set &) {  // from a handler too, while the log was delivered; or a sampler in Python
        abandon();
        throw;
    } catch (const Interrupted &) {
        abandon();
        if (!raised) {
            throw Error("Cancelled", context.taken_back() ? "The call was cancelled. The session's memory is as it was before."
                                                          : "The call was cancelled. The sequences of the batch had to be "
                                                            "cleared, for this model's memory cannot forget a part.");
        }
    } catch (...) {
        if (!raised) {
            throw;
        }
    }
    abandon();
    throw std::move(*raised);
}

template <typename Work> void run(Context & context, Work && work) {
    run(context, work, [] {});
}

}  // namespace smith
