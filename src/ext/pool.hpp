// A pool of compute threads that stay alive between graphs.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "ggml-cpu.h"
#include "placement.hpp"
#include "threading/proc.h"

namespace smith {

// Throws NotEnoughMemory if the system refuses this process so many threads, the calling one included; ggml would end
// the process then. Does nothing in an engine whose threads are OpenMP's.
void need_threads(int n_threads);

class ThreadPool {
  public:
    // `wait` is the name of a wait policy, or empty for the engine's default. `poll` is upstream's polling level
    // between graphs, 0 (sleep at once) to 100. `n_cpus` threads at most can run at once. Throws InvalidOption or
    // NotEnoughMemory.
    ThreadPool(int n_threads, const std::string & wait, int poll, const Placement & placement, int n_cpus);
    ~ThreadPool();

    ThreadPool(const ThreadPool &)             = delete;
    ThreadPool & operator=(const ThreadPool &) = delete;

    ggml_threadpool * get() const { return pool_; }
    int               n_threads() const { return n_threads_; }
    std::string       wait() const;
    void              set_wait(const std::string & name);
    bool              counters(smith_counters & out) const;  // false if the engine does not count
    void              pause();  // once no session computes on it
    void              resume();

    // The process that made the pool: its threads exist in no other.
    int made_by() const { return made_by_; }

    // The calling thread's turn to compute on a pool, as its first thread: one pool computes one graph at a time, and
    // sessions that share it take turns. For that long the caller is where the pool's threads are. `other` is a pool
    // that llama.cpp may pause meanwhile, for its context has computed on it before. Throws SessionBusy where this
    // thread already has the turn: a signal's handler runs in the midst of a graph.
    class Turn {
      public:
        explicit Turn(ThreadPool & pool, ThreadPool * other = nullptr);
        ~Turn();
        Turn(const Turn &)             = delete;
        Turn & operator=(const Turn &) = delete;

      private:
        void own(std::thread::id id);

        ThreadPool &                           pool_;
        ThreadPool *                           other_pool_;
        std::unique_lock<std::recursive_mutex> urgent_;
        std::unique_lock<std::mutex>           lock_;
        std::unique_lock<std::mutex>           other_;
        CallerKept                             kept_;
    };

  private:
    int               n_threads_;
    int               made_by_;
    ggml_threadpool * pool_ = nullptr;
    Placement         placement_;

    void not_from_within() const;

    std::mutex                   turn_;
    std::atomic<std::thread::id> owner_{};  // of the turn
};

}  // namespace smith
