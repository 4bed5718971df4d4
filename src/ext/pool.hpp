// A pool of compute threads that stay alive between graphs.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "ggml-cpu.h"
#include "threading/proc.h"

namespace smith {

// Throws NotEnoughMemory if the system refuses this process so many threads, the calling one included; ggml would end
// the process then. Does nothing in an engine whose threads are OpenMP's.
void need_threads(int n_threads);

class ThreadPool {
  public:
    // `wait` is the name of a wait policy, or empty for the engine's default. `poll` is upstream's polling level
    // between graphs, 0 (sleep at once) to 100. Throws InvalidOption or NotEnoughMemory.
    ThreadPool(int n_threads, const std::string & wait, int poll);
    ~ThreadPool();

    ThreadPool(const ThreadPool &)             = delete;
    ThreadPool & operator=(const ThreadPool &) = delete;

    ggml_threadpool * get() const { return pool_; }
    int               n_threads() const { return n_threads_; }
    std::string       wait() const;
    void              set_wait(const std::string & name);
    bool              counters(smith_counters & out) const;  // false if the engine does not count
    void              pause();
    void              resume();

    // The process that made the pool: its threads exist in no other.
    int made_by() const { return made_by_; }

    // One pool computes one graph at a time; sessions that share a pool take turns.
    std::mutex & turn() { return turn_; }

  private:
    int               n_threads_;
    int               made_by_;
    ggml_threadpool * pool_ = nullptr;
    std::mutex        turn_;
};

}  // namespace smith
