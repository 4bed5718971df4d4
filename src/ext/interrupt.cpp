#include "interrupt.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace smith {

namespace {

std::atomic<bool> came{ false };
void (*python_handler)(int) = nullptr;  // written only while our own handler is not installed

void on_sigint(int number) {
    came.store(true, std::memory_order_relaxed);
    python_handler(number);
}

bool is_main_thread() {
    return syscall(SYS_gettid) == getpid();
}

}  // namespace

InterruptScope::InterruptScope() {
    if (!is_main_thread() || sigaction(SIGINT, nullptr, &previous_) != 0) {
        return;
    }
    const bool plain = (previous_.sa_flags & SA_SIGINFO) == 0;
    if (!plain || previous_.sa_handler == SIG_DFL || previous_.sa_handler == SIG_IGN ||
        previous_.sa_handler == on_sigint) {
        return;
    }
    came.store(false, std::memory_order_relaxed);
    python_handler          = previous_.sa_handler;
    struct sigaction action = previous_;
    action.sa_handler       = on_sigint;
    installed_              = sigaction(SIGINT, &action, nullptr) == 0;
}

InterruptScope::~InterruptScope() {
    if (installed_) {
        sigaction(SIGINT, &previous_, nullptr);
    }
}

bool take_interrupt() {
    return came.load(std::memory_order_relaxed) && came.exchange(false, std::memory_order_relaxed);
}

}  // namespace smith
