#include "deep_stack.hpp"

#include <pthread.h>

#include <csignal>
#include <cstring>
#include <exception>
#include <string>

#include "errors.hpp"

namespace smith {

namespace {

constexpr std::size_t usual = 1 << 20;  // bytes

struct Task {
    const std::function<void()> & work;
    std::exception_ptr            thrown;
};

void * run(void * data) {
    auto * task = static_cast<Task *>(data);
    try {
        task->work();
    } catch (...) {
        task->thrown = std::current_exception();
    }
    return nullptr;
}

// Starts the thread with all signals blocked, so that they go on reaching the threads that Python knows.
int start(pthread_t & thread, const pthread_attr_t & attributes, Task & task) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int status = pthread_create(&thread, &attributes, run, &task);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return status;
}

}  // namespace

void on_deep_stack(std::size_t bytes, const std::function<void()> & work) {
    Task           task{ work, nullptr };
    pthread_attr_t attributes;
    pthread_t      thread;
    pthread_attr_init(&attributes);
    int status = pthread_attr_setstacksize(&attributes, (bytes + 2 * usual) / usual * usual);
    if (status == 0) {
        status = start(thread, attributes, task);
    }
    pthread_attr_destroy(&attributes);
    if (status != 0) {
        throw Error("NotEnoughMemory", "No thread with a stack of " + std::to_string(bytes >> 20) +
                                           " MiB can be started: " + std::strerror(status) + ".");
    }
    pthread_join(thread, nullptr);
    if (task.thrown) {
        std::rethrow_exception(task.thrown);
    }
}

}  // namespace smith
