#include "placement.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine.hpp"
#include "errors.hpp"

namespace smith {

namespace {

struct Priority {
    const char *        name;
    ggml_sched_priority level;
    int                 policy;   // what ggml makes of it
    int                 urgency;  // among threads of this policy
};

constexpr Priority priorities[] = {
    { "low",      GGML_SCHED_PRIO_LOW,      SCHED_BATCH, 0  },
    { "normal",   GGML_SCHED_PRIO_NORMAL,   SCHED_OTHER, 0  },
    { "medium",   GGML_SCHED_PRIO_MEDIUM,   SCHED_FIFO,  40 },
    { "high",     GGML_SCHED_PRIO_HIGH,     SCHED_FIFO,  80 },
    { "realtime", GGML_SCHED_PRIO_REALTIME, SCHED_FIFO,  90 },
};

const Priority & priority_from(const std::string & name) {
    std::string allowed;
    for (const Priority & priority : priorities) {
        if (name == priority.name) {
            return priority;
        }
        allowed += (allowed.empty() ? "" : ", ") + std::string(priority.name);
    }
    throw Error("InvalidOption", "priority is '" + name + "'. Allowed: " + allowed + ".");
}

std::string list_of(const std::vector<int> & cpus) {
    std::string text;
    for (const int cpu : cpus) {
        text += (text.empty() ? "" : ",") + std::to_string(cpu);
    }
    return text;
}

// Linux moves the calling thread alone. The system call has no limit of CPUs as cpu_set_t has.
int move_to(const unsigned long * cpus, std::size_t n_bytes) {
    return syscall(SYS_sched_setaffinity, 0, n_bytes, cpus) == 0 ? 0 : errno;
}

int move_to(const std::vector<int> & cpus) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cpus) {
        CPU_SET(static_cast<std::size_t>(cpu), &set);
    }
    return move_to(reinterpret_cast<const unsigned long *>(&set), sizeof(set));
}

int run_as(int policy, int urgency) {
    sched_param param{};
    param.sched_priority = urgency;
    return pthread_setschedparam(pthread_self(), policy, &param);
}

struct Trial {
    const Placement * placement;
    int               refused_cpus     = 0;  // errno
    int               refused_priority = 0;
};

void * try_it(void * data) {
    auto &            trial = *static_cast<Trial *>(data);
    const Placement & asked = *trial.placement;
    if (!asked.cpus.empty()) {
        trial.refused_cpus = move_to(asked.cpus);
    }
    if (asked.priority != "normal") {
        const Priority & priority = priority_from(asked.priority);
        trial.refused_priority    = run_as(priority.policy, priority.urgency);
    }
    return nullptr;
}

void need_placement(const Placement & placement) {
    Trial     trial{ &placement };
    pthread_t thread;
    if (pthread_create(&thread, nullptr, try_it, &trial) != 0) {
        throw Error("NotEnoughMemory", "The system gives this process no more threads. Raise the limit (ulimit -u, "
                                       "pids of the cgroup).");
    }
    pthread_join(thread, nullptr);
    if (trial.refused_cpus != 0) {
        throw Error("InvalidOption", "cpus is " + list_of(placement.cpus) + ", to which the system does not let threads "
                                     "be bound: " + std::strerror(trial.refused_cpus) + ". Leave cpus and strict out, or "
                                     "name CPUs of this process's cpuset.");
    }
    if (trial.refused_priority != 0) {
        const Priority & priority = priority_from(placement.priority);
        rlimit           limit{};
        getrlimit(RLIMIT_RTPRIO, &limit);
        const std::string now = limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur);
        throw Error("InvalidOption", "priority is '" + placement.priority + "', which the system refuses to this process (" +
                                         std::strerror(trial.refused_priority) + "). It takes root, the capability "
                                         "CAP_SYS_NICE, or a limit of " + std::to_string(priority.urgency) +
                                         " for real-time priority (ulimit -r, now " + now +
                                         "). Allowed without: low, normal.");
    }
}

}  // namespace

bool Placement::urgent() const {
    return priority_from(priority).policy == SCHED_FIFO;
}

std::vector<std::string> priority_names() {
    std::vector<std::string> names;
    for (const Priority & priority : priorities) {
        names.emplace_back(priority.name);
    }
    return names;
}

void place(const Placement & placement, ggml_threadpool_params & params) {
    params.prio       = priority_from(placement.priority).level;
    params.strict_cpu = placement.strict;
    for (const int cpu : placement.cpus) {
        if (cpu < 0 || cpu >= GGML_MAX_N_THREADS || params.cpumask[cpu]) {
            throw Error("InvalidOption", "cpus is " + list_of(placement.cpus) + ". Allowed: each CPU once, 0 to " +
                                             std::to_string(GGML_MAX_N_THREADS - 1) + ".");
        }
        params.cpumask[cpu] = true;
    }
    if (placement.strict && static_cast<int>(placement.cpus.size()) < params.n_threads) {
        throw Error("InvalidOption", "strict=True binds each thread to a CPU of its own: " +
                                         std::to_string(params.n_threads) + " threads do not fit on " +
                                         std::to_string(placement.cpus.size()) + " CPUs.");
    }
    if (!placement.anywhere()) {
        need_placement(placement);
    }
}

CallerKept::CallerKept(const Placement & placement) : placement_(placement) {
    if (!placement.cpus.empty()) {
        n_bytes_ = syscall(SYS_sched_getaffinity, 0, sizeof(cpus_), cpus_);
    }
    if (placement.priority != "normal") {
        // The kernel's word: pthread_getschedparam may tell what the thread was some time ago.
        sched_param param{};
        policy_ = static_cast<int>(syscall(SYS_sched_getscheduler, 0));
        if (syscall(SYS_sched_getparam, 0, &param) == 0) {
            urgency_ = param.sched_priority;
        }
    }
}

CallerKept::~CallerKept() {
    // What cannot be put back was taken away in between, by whoever rules over this process.
    if (policy_ >= 0) {
        run_as(policy_, urgency_);
    }
    if (n_bytes_ > 0) {
        move_to(cpus_, static_cast<std::size_t>(n_bytes_));
    }
}

void CallerKept::join(int n_threads) {
    if (n_bytes_ > 0) {
        std::vector<int> mine = placement_.cpus;
        if (placement_.strict) {
            // As in ggml_threadpool_new_impl: the one left over by the workers, with OpenMP the first one.
            std::sort(mine.begin(), mine.end());
            mine = { mine[static_cast<std::size_t>(engine().openmp ? 0 : n_threads - 1)] };
        }
        move_to(mine);  // refused, it computes where it is
    }
    if (policy_ >= 0) {
        const Priority & priority = priority_from(placement_.priority);
        run_as(priority.policy, priority.urgency);
    }
}

}  // namespace smith
