#include "pool.hpp"

#include <pthread.h>
#include <unistd.h>

#include <new>
#include <vector>

#include "engine.hpp"
#include "errors.hpp"

namespace smith {

namespace {

struct Gate {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t  cond  = PTHREAD_COND_INITIALIZER;
    bool            open  = false;
};

void * wait_at(void * data) {
    auto * gate = static_cast<Gate *>(data);
    pthread_mutex_lock(&gate->mutex);
    while (!gate->open) {
        pthread_cond_wait(&gate->cond, &gate->mutex);
    }
    pthread_mutex_unlock(&gate->mutex);
    return nullptr;
}

// ggml ends the process if the system refuses a thread, so we ask first, with threads of our own that do nothing.
// Returns how many could be had.
int threads_available(int wanted) {
    Gate                   gate;
    std::vector<pthread_t> threads;
    threads.reserve(static_cast<std::size_t>(wanted));
    pthread_t thread;
    while (static_cast<int>(threads.size()) < wanted && pthread_create(&thread, nullptr, wait_at, &gate) == 0) {
        threads.push_back(thread);
    }
    pthread_mutex_lock(&gate.mutex);
    gate.open = true;
    pthread_cond_broadcast(&gate.cond);
    pthread_mutex_unlock(&gate.mutex);
    for (const pthread_t made : threads) {
        pthread_join(made, nullptr);
    }
    return static_cast<int>(threads.size());
}

}  // namespace

void need_threads(int n_threads) {
    if (engine().openmp) {
        return;
    }
    const int got = threads_available(n_threads - 1);
    if (got < n_threads - 1) {
        throw Error("NotEnoughMemory", "The system gives this process only " + std::to_string(got + 1) + " of " +
                                           std::to_string(n_threads) + " threads. Use fewer, or raise the limit "
                                           "(ulimit -u, pids of the cgroup).");
    }
}

namespace {

int policy_from(const std::string & name) {
    const int policy = smith_wait_from_name(name.c_str());
    if (policy < 0) {
        std::string allowed;
        for (int i = 0; i < SMITH_WAIT_COUNT; i++) {
            allowed += (i == 0 ? "" : ", ") + std::string(smith_wait_name(i));
        }
        throw Error("InvalidOption", "wait is '" + name + "'. Allowed: " + allowed + ".");
    }
    if (engine().set_wait == nullptr) {
        throw Error("InvalidOption", "wait='" + name + "' has no effect in the engine at " + engine().path +
                                         ": only the engine 'patched', built with the patch threading-wait-policy, "
                                         "chooses how to wait. Leave wait out.");
    }
    return policy;
}

Error cannot(const std::string & what) {
    return { "InvalidOption", "The engine at " + engine().path + " cannot " + what + " a pool" +
                                  (engine().openmp ? ", whose threads are OpenMP's" : "") + "; 'patched' can." };
}

}  // namespace

ThreadPool::ThreadPool(int n_threads, const std::string & wait, int poll, const Placement & placement, int n_cpus)
    : n_threads_(n_threads), made_by_(getpid()), placement_(placement) {
    if (n_threads < 1 || n_threads > GGML_MAX_N_THREADS) {
        throw Error("InvalidOption", "n_threads is " + std::to_string(n_threads) + ". Allowed: 1 to " +
                                         std::to_string(GGML_MAX_N_THREADS) + "; leave it out for what this process may use.");
    }
    if (poll < 0 || poll > 100) {
        throw Error("InvalidOption", "poll is " + std::to_string(poll) + ". Allowed: 0 to 100.");
    }
    const int policy = wait.empty() ? -1 : policy_from(wait);
    need_threads(n_threads);
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    params.poll                   = static_cast<uint32_t>(poll);
    place(placement, params);
    const CallerKept here(placement);
    pool_ = engine().threadpool_new(&params);
    if (pool_ == nullptr) {
        throw Error("NotEnoughMemory", "A pool of " + std::to_string(n_threads) + " threads cannot be made.");
    }
    if (policy >= 0) {
        engine().set_wait(pool_, policy);
    }
    if (engine().set_cpus != nullptr) {
        engine().set_cpus(pool_, n_cpus);
    }
}

ThreadPool::~ThreadPool() {
    // In a forked child the threads do not exist, and waiting for them would never end: the child forgets the pool.
    if (getpid() == made_by_) {
        engine().threadpool_free(pool_);
    }
}

std::string ThreadPool::wait() const {
    return engine().get_wait == nullptr ? "" : smith_wait_name(engine().get_wait(pool_));
}

void ThreadPool::set_wait(const std::string & name) {
    engine().set_wait(pool_, policy_from(name));
}

bool ThreadPool::counters(smith_counters & out) const {
    if (engine().counters == nullptr) {
        return false;
    }
    engine().counters(pool_, &out);
    return true;
}

void ThreadPool::pause() {
    if (engine().threadpool_pause == nullptr) {
        throw cannot("pause");
    }
    // While a graph begins, a worker that is told to pause before it has seen the graph would keep all others waiting.
    not_from_within();
    const std::lock_guard<std::mutex> lock(turn_);
    engine().threadpool_pause(pool_);
}

void ThreadPool::resume() {
    if (engine().threadpool_resume == nullptr) {
        throw cannot("resume");
    }
    engine().threadpool_resume(pool_);
}

void ThreadPool::not_from_within() const {
    if (owner_.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
        throw Error("SessionBusy", "This thread is in the midst of a graph on this thread pool: a signal's handler runs "
                                   "there. Use the pool after the call, or another one.");
    }
}

namespace {

// Threads of two pools that are both above the system's ordinary priority never give way to each other: where each
// pool's first thread waits on the CPU that the other one's second thread needs, both wait for ever.
std::recursive_mutex & urgent_turn() {
    static std::recursive_mutex * mutex = [] {
        pthread_atfork(nullptr, nullptr, [] { new (&urgent_turn()) std::recursive_mutex; });  // held by a thread it lacks
        return new std::recursive_mutex;
    }();
    return *mutex;
}

}  // namespace

ThreadPool::Turn::Turn(ThreadPool & pool, ThreadPool * other)
    : pool_(pool), other_pool_(other == &pool ? nullptr : other), kept_(pool.placement_) {
    pool.not_from_within();
    lock_ = std::unique_lock<std::mutex>(pool.turn_, std::defer_lock);
    if (pool.placement_.urgent()) {
        urgent_ = std::unique_lock<std::recursive_mutex>(urgent_turn());
    }
    if (other_pool_ == nullptr) {
        lock_.lock();
    } else {
        other_pool_->not_from_within();
        other_ = std::unique_lock<std::mutex>(other_pool_->turn_, std::defer_lock);
        std::lock(lock_, other_);
    }
    own(std::this_thread::get_id());
    kept_.join(pool.n_threads_);
}

ThreadPool::Turn::~Turn() {
    own({});
}

void ThreadPool::Turn::own(std::thread::id id) {
    pool_.owner_.store(id, std::memory_order_relaxed);
    if (other_pool_ != nullptr) {
        other_pool_->owner_.store(id, std::memory_order_relaxed);
    }
}

}  // namespace smith
