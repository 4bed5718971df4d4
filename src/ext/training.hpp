// Training a model's weights, one example at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "context.hpp"
#include "ggml-opt.h"
#include "model.hpp"
#include "pool.hpp"

namespace smith {

struct TrainingOptions {
    int64_t     n_ctx   = 256;  // tokens of an example
    int64_t     n_batch = 256;  // ... after which the weights change
    int64_t     n_ubatch = 256;  // ... in one graph
    std::string optimizer = "adamw";
    std::string param_filter;  // regex of tensor names; empty: all
};

// Of one step. Rates are checked: upstream ends the process for those out of range.
struct StepOptions {
    double learning_rate = 1e-5;
    double weight_decay  = 0;
    bool   train         = true;  // else only the loss is computed
};

struct StepResult {
    double loss     = 0;  // mean over the example's tokens, of -log(probability)
    double accuracy = 0;  // share of tokens that were the likeliest
};

// While it lives, the model belongs to it alone. Used by one thread at a time, within Context's turn.
class Trainer {
  public:
    // Throws InvalidOption for whatever upstream would answer by ending the process; the model is then as it was.
    Trainer(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool, const TrainingOptions & options);
    ~Trainer();

    Trainer(const Trainer &)             = delete;
    Trainer & operator=(const Trainer &) = delete;

    // n_ctx + 1 tokens: each predicts the next.
    StepResult step(const std::vector<llama_token> & tokens, const StepOptions & options);

    const std::vector<std::string> & trained() const { return names_; }
    int64_t                          n_weights() const { return n_weights_; }  // numbers in these
    int64_t                          n_ctx() const { return n_ctx_; }
    std::size_t                      bytes() const { return bytes_; }  // that the first step will take
    bool                             closed() const { return context_ == nullptr || context_->closed(); }
    void                             close();  // the model is free again

  private:
    struct Hooks;

    void set_threads();
    void begin(ggml_opt_optimizer_type optimizer);
    void give_back();

    std::shared_ptr<Model>      model_;
    std::shared_ptr<ThreadPool> pool_;
    std::unique_ptr<Context>    context_;
    std::unique_ptr<Hooks>      hooks_;
    std::vector<std::string>    names_;
    int64_t                     n_weights_ = 0;
    int64_t                     n_ctx_     = 0;
    std::size_t                 bytes_     = 0;
    bool                        alone_     = false;
};

}  // namespace smith
