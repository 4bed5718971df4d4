// Does to thread pools all at once what users do to them one by one, for some seconds, and compares every result bit
// for bit: stress [SECONDS [SEED [ROUND]]], where ROUND names the only kind of round to have. Made for ThreadSanitizer
// and AddressSanitizer (ci/sanitize). Status 0, 1 (a wrong result), 2 (a wrong argument) or 3 (a round hung).
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>

#include "threading/proc.h"
#include "workload.hpp"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

namespace {

using Random = std::mt19937_64;
using Result = std::vector<uint8_t>;

constexpr int MOST_THREADS  = 16;
constexpr int SHAPES[]      = { 1, 5 };  // a token, and a batch
constexpr int HANG_SECONDS  = 240;       // a round takes a second or two: 16 spinning threads on 2 CPUs are slow
constexpr int CHILD_SECONDS = 120;

template <typename Function> Function engine_function(const char * name) {
    auto * found = reinterpret_cast<Function>(smith_get_proc_address(name));
    if (found == nullptr) {
        std::fprintf(stderr, "stress: the engine has no %s\n", name);
        std::exit(2);
    }
    return found;
}

const auto set_wait = engine_function<smith_threadpool_set_wait_t>(SMITH_PROC_SET_WAIT);
const auto get_wait = engine_function<smith_threadpool_get_wait_t>(SMITH_PROC_GET_WAIT);
const auto counters = engine_function<smith_threadpool_counters_t>(SMITH_PROC_COUNTERS);

// -- what is said when something goes wrong

std::atomic<const char *> scenario{ "start" };
std::atomic<long>         graphs{ 0 };
unsigned long             seed;

[[noreturn]] void fail(const std::string & what) {
    std::fprintf(stderr, "stress: FAILED in %s, seed %lu: %s\n", scenario.load(), seed, what.c_str());
    std::_Exit(1);
}

void on_alarm(int) {
    static const char text[] = "stress: HANG: a round took too long, so a thread waits for what never comes: ";
    const char *      name   = scenario.load();
    size_t            length = 0;
    while (name[length] != '\0') {
        length++;
    }
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 || write(STDERR_FILENO, name, length) < 0 ||
        write(STDERR_FILENO, "\n", 1) < 0) {
        _exit(4);
    }
    _exit(3);
}

// -- pools and results

int between(Random & random, int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
}

class Pool {
  public:
    Pool(int n_threads, int policy, int poll, bool paused) : n_threads(n_threads) {
        ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
        params.poll                   = static_cast<uint32_t>(poll);
        params.paused                 = paused;
        handle                        = ggml_threadpool_new(&params);
        if (set_wait(handle, policy) != 1 || get_wait(handle) != policy) {
            fail("policy " + std::to_string(policy) + " was not taken");
        }
    }

    ~Pool() { ggml_threadpool_free(handle); }

    Pool(const Pool &)             = delete;
    Pool & operator=(const Pool &) = delete;

    int               n_threads;
    ggml_threadpool * handle;
};

// Spinning without end takes seconds for a graph when threads far outnumber CPUs, so it gets its turn there rarely.
int any_policy(Random & random, int n_threads) {
    const int policy = between(random, 0, SMITH_WAIT_COUNT - 1);
    return policy == SMITH_WAIT_SPIN && n_threads > 4 && between(random, 0, 31) > 0 ? SMITH_WAIT_YIELD : policy;
}

int any_count(Random & random) {
    return between(random, 1, MOST_THREADS);
}

struct Made : Pool {
    explicit Made(Random & random, int n_threads)
        : Pool(n_threads, any_policy(random, n_threads), between(random, 0, 1) * between(random, 0, 100),
               between(random, 0, 3) == 0) {}
    explicit Made(Random & random) : Made(random, any_count(random)) {}
};

std::map<std::pair<int, int>, Result> references;  // by tokens and threads; written before other threads exist

void check(Workload & workload, ggml_threadpool * pool, int in_pool, int asked) {
    const ggml_status status = workload.compute(pool, asked);
    if (status != GGML_STATUS_SUCCESS) {
        fail("status " + std::to_string(status));
    }
    graphs++;
    const int threads = std::min(in_pool, asked);
    if (workload.result() != references.at({ workload.n_tokens(), threads })) {
        fail("other bits than before with " + std::to_string(threads) + " threads, policy " +
             (pool == nullptr ? "of no pool" : smith_wait_name(get_wait(pool))));
    }
}

void check(Workload & workload, const Pool & pool) {
    check(workload, pool.handle, pool.n_threads, pool.n_threads);
}

void make_references() {
    for (const int n_tokens : SHAPES) {
        Workload workload(n_tokens);
        for (int n = 1; n <= MOST_THREADS; n++) {
            Pool pool(n, SMITH_WAIT_YIELD, 0, false);
            workload.compute(pool.handle, n);
            references[{ n_tokens, n }] = workload.result();
        }
        // The number of threads may round otherwise, but no more than that.
        const auto * one = reinterpret_cast<const float *>(references[{ n_tokens, 1 }].data());
        for (int n = 2; n <= MOST_THREADS; n++) {
            const Result & result = references[{ n_tokens, n }];
            const auto *   many   = reinterpret_cast<const float *>(result.data());
            for (size_t i = 0; i < result.size() / sizeof(float); i++) {
                if (!(std::abs(one[i] - many[i]) < 1e-3f * (1.0f + std::abs(one[i])))) {
                    fail(std::to_string(n) + " threads compute something else than one");
                }
            }
        }
    }
}

// -- a thread that meddles with a pool while another one computes with it

class Meddler {
  public:
    using Meddle = void (*)(Random &, const Pool &);

    Meddler(Random & random, const Pool & pool, Meddle meddle)
        : thread_([this, &pool, meddle, own = Random(random())]() mutable {
              while (!stop_) {
                  meddle(own, pool);
                  usleep(static_cast<useconds_t>(between(own, 0, 300)));
              }
          }) {}

    ~Meddler() {
        stop_ = true;
        thread_.join();
    }

  private:
    std::atomic<bool> stop_{ false };
    std::thread       thread_;
};

void meddle_policy(Random & random, const Pool & pool) {
    const int policy = any_policy(random, pool.n_threads);
    if (set_wait(pool.handle, policy) != 1 || set_wait(pool.handle, SMITH_WAIT_COUNT) != 0) {
        fail("a policy was not taken, or a wrong one was");
    }
}

void meddle_pause(Random & random, const Pool & pool) {
    ggml_threadpool_pause(pool.handle);
    usleep(static_cast<useconds_t>(between(random, 0, 300)));
    ggml_threadpool_resume(pool.handle);
}

void meddle_counters(Random &, const Pool & pool) {
    smith_counters out;
    counters(pool.handle, &out);
}

// -- scenarios

struct World {
    Random                 random;
    std::vector<Workload*> mine;    // one for each shape
    std::vector<Workload*> others;  // likewise, for a second thread

    Workload & any() { return *mine[static_cast<size_t>(between(random, 0, 1))]; }
};

void churn(World & world) {
    Made pool(world.random);
    for (int i = between(world.random, 0, 3); i > 0; i--) {
        check(world.any(), pool);
    }
}

void disposable(World & world) {
    const int n = any_count(world.random);
    check(world.any(), nullptr, n, n);
}

void resize(World & world) {
    Made pool(world.random);
    for (int i = 0; i < 6; i++) {
        check(world.any(), pool.handle, pool.n_threads, any_count(world.random));
    }
}

void meddled_with(World & world, Meddler::Meddle meddle) {
    Made    pool(world.random);
    Meddler meddler(world.random, pool, meddle);
    for (int i = between(world.random, 1, 6); i > 0; i--) {
        check(world.any(), pool);
    }
}

void policies(World & world) {
    meddled_with(world, meddle_policy);
}

void pauses(World & world) {
    meddled_with(world, meddle_pause);
}

void counting(World & world) {
    meddled_with(world, meddle_counters);
}

// Every policy once on one pool, asleep in between, as a session with pauses has it.
void asleep(World & world) {
    Made pool(world.random);
    for (int policy = pool.n_threads > 4 ? 1 : 0; policy < SMITH_WAIT_COUNT; policy++) {
        set_wait(pool.handle, policy);
        check(world.any(), pool);
        ggml_threadpool_pause(pool.handle);
        if (between(world.random, 0, 1) == 1) {
            ggml_threadpool_resume(pool.handle);
        }
        usleep(static_cast<useconds_t>(between(world.random, 0, 2000)));
    }
}

struct Fuse {
    std::atomic<int>  left;
    std::atomic<bool> blown;
};

bool burn(void * data) {
    auto * fuse = static_cast<Fuse *>(data);
    if (--fuse->left < 0) {
        fuse->blown = true;
    }
    return fuse->blown;
}

void aborted(World & world) {
    Made       pool(world.random);
    Workload & workload = world.any();
    for (int i = 0; i < 3; i++) {
        Fuse              fuse{ { between(world.random, 0, workload.n_nodes()) }, { false } };
        const ggml_status status = workload.compute(pool.handle, pool.n_threads, burn, &fuse);
        if (status != (fuse.blown ? GGML_STATUS_ABORTED : GGML_STATUS_SUCCESS)) {
            fail("status " + std::to_string(status) + " after a callback that said " + (fuse.blown ? "stop" : "go on"));
        }
        check(workload, pool);
    }
}

// Two threads compute at once, with pools of their own or with none.
void pair(World & world) {
    const int rounds = between(world.random, 1, 4);
    auto      work   = [rounds](std::vector<Workload *> & workloads, Random random) {
        const int n = between(random, 1, MOST_THREADS / 2);
        if (between(random, 0, 3) == 0) {
            for (int i = 0; i < rounds; i++) {
                check(*workloads[static_cast<size_t>(i % 2)], nullptr, n, n);
            }
            return;
        }
        Made pool(random, n);
        for (int i = 0; i < rounds; i++) {
            check(*workloads[static_cast<size_t>(i % 2)], pool);
        }
    };
    std::thread other(work, std::ref(world.others), Random(world.random()));
    work(world.mine, Random(world.random()));
    other.join();
}

// A child has none of its parent's threads: it leaves that pool alone, and computes with its own.
// ThreadSanitizer supports no new threads there, so under it the child has pools of one. And a thread of the parent that
// is just starting may hold a lock of the sanitizer's allocator, which then stays locked in the child for ever (seen
// with GCC 12's AddressSanitizer): so under both, all threads of the parent have computed before. By `park`, since
// `adaptive` lets more threads than CPUs sleep from the start.
void fork_child(World & world) {
    Made pool(world.random);
    if (UNDER_ASAN || UNDER_TSAN) {
        const int policy = get_wait(pool.handle);
        set_wait(pool.handle, SMITH_WAIT_PARK);
        check(world.any(), pool);
        set_wait(pool.handle, policy);
    } else if (between(world.random, 0, 1) == 1) {
        check(world.any(), pool);
    }
    const pid_t child = fork();
    if (child < 0) {
        fail("no fork");
    }
    if (child == 0) {
        std::signal(SIGALRM, SIG_DFL);
        alarm(CHILD_SECONDS);
        const int n = UNDER_TSAN ? 1 : pool.n_threads;
        {
            Made own(world.random, n);
            check(world.any(), own);
        }
        check(world.any(), nullptr, n, n);
        _exit(0);
    }
    check(world.any(), pool);
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) {
        fail("the child ended with status " + std::to_string(status));
    }
}

struct Scenario {
    const char * name;
    void (*run)(World &);
    long rounds;
};

Scenario scenarios[] = {
    { "churn", churn, 0 },       { "disposable", disposable, 0 }, { "resize", resize, 0 }, { "policies", policies, 0 },
    { "pauses", pauses, 0 },     { "counting", counting, 0 },     { "asleep", asleep, 0 }, { "aborted", aborted, 0 },
    { "pair", pair, 0 },         { "fork", fork_child, 0 },
};

constexpr char USAGE[] = "Usage: stress [SECONDS [SEED [ROUND]]]";

long number(const char * text, const char * what) {
    char *     end   = nullptr;
    const long value = std::strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < 1) {
        std::fprintf(stderr, "stress: %s is '%s'. Allowed: a whole number, 1 or more. %s\n", what, text, USAGE);
        std::exit(2);
    }
    return value;
}

std::vector<Scenario *> rounds_named(const std::string & name) {
    std::vector<Scenario *> chosen;
    std::string             names;
    for (Scenario & one : scenarios) {
        if (name.empty() || name == one.name) {
            chosen.push_back(&one);
        }
        names += std::string(names.empty() ? "" : ", ") + one.name;
    }
    if (chosen.empty()) {
        std::fprintf(stderr, "stress: ROUND is '%s'. Allowed: %s. %s\n", name.c_str(), names.c_str(), USAGE);
        std::exit(2);
    }
    return chosen;
}

}  // namespace

#if UNDER_TSAN
// The child of a fork may go on, although other threads were there: it makes none.
extern "C" const char * __tsan_default_options() {
    return "die_after_fork=0";
}
#endif

int main(int argc, char ** argv) {
    const long seconds = argc > 1 ? number(argv[1], "SECONDS") : 20;
    seed               = static_cast<unsigned long>(argc > 2 ? number(argv[2], "SEED") : 1);
    const auto chosen = rounds_named(argc > 3 ? argv[3] : "");
    std::signal(SIGALRM, on_alarm);
    ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);  // `resize` asks for too many, and is told so

    scenario = "references";
    alarm(HANG_SECONDS);
    make_references();

    Workload   token(SHAPES[0]), batch(SHAPES[1]), other_token(SHAPES[0]), other_batch(SHAPES[1]);
    World      world{ Random(seed), { &token, &batch }, { &other_token, &other_batch } };
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    long       rounds = 0;
    // Each scenario in its turn, so that a short run has had them all; what happens in it is chance.
    for (; std::chrono::steady_clock::now() < end; rounds++) {
        Scenario & next = *chosen[static_cast<size_t>(rounds) % chosen.size()];
        scenario        = next.name;
        alarm(HANG_SECONDS);
        // For pools that ggml makes itself, where none is attached. No other thread runs now that could read it.
        setenv("LLAMASMITH_WAIT", smith_wait_name(any_policy(world.random, MOST_THREADS)), 1);
        next.run(world);
        next.rounds++;
    }
    alarm(0);

    std::printf("stress: %ld s, seed %lu: %ld graphs in %ld rounds, all bits as expected (", seconds, seed,
                graphs.load(), rounds);
    for (const Scenario * done : chosen) {
        std::printf("%s%s %ld", done == chosen.front() ? "" : ", ", done->name, done->rounds);
    }
    std::printf(")\n");
    return 0;
}
