// Many generations at once: each step evaluates one token of every request in one batch. Requests join and leave in between.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <vector>

#include "context.hpp"
#include "generation.hpp"
#include "sequence.hpp"

namespace smith {

class BatchSession {
  public:
    // Takes all sequences of the context, within a turn of it.
    explicit BatchSession(std::shared_ptr<Context> context);

    // Queues a request; returns its number. Throws InvalidOption, or ContextFull for a prompt that never fits.
    int64_t submit(const std::vector<llama_token> & prompt, const GenerationOptions & options);

    // Up to n steps, or until a request has ended; returns those that have. Throws DecodeFailed, with all requests as they
    // were before the step, or Interrupted.
    std::vector<int64_t> advance(int64_t n);

    // Of a request that has not been dropped. Throws InvalidOption, or what its sampler has thrown.
    Generation & generation(int64_t id);
    void         cancel(int64_t id);  // takes it out of the batch, ended
    void         drop(int64_t id);    // forgets it

    std::size_t n_running() const;
    std::size_t n_waiting() const { return queue_.size(); }
    Context &   context() { return *context_; }

  private:
    struct Request {
        Generation               generation;
        std::vector<llama_token> waiting;  // still to be evaluated: the prompt's rest, or the last token
        int64_t                  room;     // tokens that its memory may grow to
        std::exception_ptr       failure;  // why no token could be chosen
    };

    struct Slot {
        std::unique_ptr<Sequence> sequence;
        int64_t                   request = 0;  // 0: free, with the memory of its last request
    };

    // Tokens of one request in the batch that is being evaluated.
    struct Part {
        Slot *      slot;
        std::size_t n;
        int32_t     row;  // of the last one
    };

    void                 let_in();
    bool                 has_room(const Request & request);
    Slot *               choose_slot(const std::vector<llama_token> & prompt, std::size_t & known);
    std::vector<Part>    fill();
    void                 choose(const Part & part);
    void                 leave();
    Request &            request(int64_t id);
    void                 step();
    void                 check_full();

    std::shared_ptr<Context>   context_;
    std::unique_ptr<Batch>     batch_;
    std::vector<Slot>          slots_;
    std::deque<int64_t>        queue_;
    std::map<int64_t, Request> requests_;  // that have not been dropped
    std::vector<int64_t>       ended_;  // not yet told: a step may fail after a request has ended
    int64_t                    last_id_ = 0;
};

}  // namespace smith
