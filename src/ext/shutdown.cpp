#include "shutdown.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "pybind.hpp"

namespace smith {

namespace {

using namespace std::chrono_literals;

// Far more than a graph node or a step of loading takes; what does not end by then does not keep the process alive.
constexpr auto patience = 20s;

std::atomic<bool> ending{ false };
std::atomic<int>  at_work{ 0 };

void stop_and_wait() {
    ending.store(true);
    const py::gil_scoped_release unlocked;  // threads need it to leave their work
    const auto                   give_up = std::chrono::steady_clock::now() + patience;
    while (at_work.load() > 0 && std::chrono::steady_clock::now() < give_up) {
        std::this_thread::sleep_for(1ms);
    }
}

[[noreturn]] void stay_for_ever() {
    PyEval_SaveThread();
    while (true) {
        pause();
    }
}

}  // namespace

void register_shutdown() {
    pthread_atfork(nullptr, nullptr, [] { at_work.store(0); });  // a child has none of its parent's threads
    py::module_::import("atexit").attr("register")(py::cpp_function(stop_and_wait));
}

bool shutting_down() {
    // The main thread is the one that ends the process; the user's own atexit functions may still compute in it.
    return ending.load(std::memory_order_relaxed) && syscall(SYS_gettid) != getpid();
}

NativeWork::NativeWork() {
    if (shutting_down()) {
        stay_for_ever();
    }
    at_work.fetch_add(1);
}

NativeWork::~NativeWork() {
    at_work.fetch_sub(1);
    if (shutting_down()) {
        stay_for_ever();
    }
}

}  // namespace smith
