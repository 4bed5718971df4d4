// How Python holds native objects: shared, so that the order in which they are dropped cannot be wrong, and freed
// without the GIL, because freeing unmaps gigabytes or joins threads.
#pragma once

#include <unistd.h>

#include <memory>
#include <utility>

#include "errors.hpp"
#include "model.hpp"
#include "pool.hpp"
#include "pybind.hpp"
#include "shutdown.hpp"
#include "unlocked.hpp"

namespace smith {

template <typename T> void free_unlocked(T * object) {
    if (PyGILState_Check() != 0) {
        const NativeWork at_work;  // else an interpreter that exits ends this thread inside of a destructor, and so the process
        const Unlocked   scope;
        delete object;
    } else {
        delete object;
    }
}

// Makes a T without the GIL.
template <typename T, typename... Args> std::shared_ptr<T> make_unlocked(Args &&... args) {
    return unlocked([&] { return std::shared_ptr<T>(new T(std::forward<Args>(args)...), free_unlocked<T>); });
}

// The native model lives until close(), or until the last session that runs it is gone.
struct PyModel {
    std::shared_ptr<Model> model;

    const Model & get() const {
        if (!model) {
            throw Error("SessionClosed", "The model is closed. Load it again.");
        }
        return *model;
    }
};

// The native pool lives until close(), or until the last session that computes on it is gone.
struct PyThreadPool {
    std::shared_ptr<ThreadPool> pool;

    ThreadPool & get() const {
        if (!pool) {
            throw Error("SessionClosed", "The thread pool is closed. Make a new one.");
        }
        if (pool->made_by() != getpid()) {
            throw Error("ForkedProcess", "This thread pool was made before fork(); its threads do not exist in this "
                                         "process. Make a new one in the child.");
        }
        return *pool;
    }
};

}  // namespace smith
