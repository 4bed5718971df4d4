// Where the threads of a pool run: on which CPUs, and how urgently.
#pragma once

#include <string>
#include <vector>

#include "ggml.h"

namespace smith {

struct Placement {
    std::vector<int> cpus;            // logical CPUs; none: wherever the system puts a thread
    bool             strict = false;  // each thread on one of them alone
    std::string      priority = "normal";

    bool urgent() const;  // above what the system gives everybody: such threads give way to nobody
    bool anywhere() const { return cpus.empty() && priority == "normal"; }
};

// The priorities' names, from the lowest one.
std::vector<std::string> priority_names();

// Fills in where a pool's threads run. Throws InvalidOption for what ggml cannot do or the system refuses, which it is
// asked by a thread that does nothing else: ggml would print a warning, and go on without.
void place(const Placement & placement, ggml_threadpool_params & params);

// A scope after which the calling thread is where it was before, and as urgent. ggml moves it to the pool's CPUs when it
// makes a pool or resumes one, and leaves it there.
class CallerKept {
  public:
    explicit CallerKept(const Placement & placement);
    ~CallerKept();
    CallerKept(const CallerKept &)             = delete;
    CallerKept & operator=(const CallerKept &) = delete;

    // Makes the calling thread the first one of a pool with this placement, for the rest of the scope.
    void join(int n_threads);

  private:
    // Linux has 8192 CPUs at most.
    static constexpr int n_words = 8192 / (8 * static_cast<int>(sizeof(unsigned long)));

    const Placement & placement_;
    unsigned long     cpus_[n_words];
    long              n_bytes_ = 0;   // of cpus_, as the kernel tells; 0 or less: not known, or of no concern
    int               policy_  = -1;  // -1: likewise
    int               urgency_ = 0;
};

}  // namespace smith
