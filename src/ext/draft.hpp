// Speculative decoding: somebody guesses the next tokens, and the model confirms several in one evaluation.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "context.hpp"
#include "sequence.hpp"

namespace smith {

class Draft {
  public:
    virtual ~Draft() = default;

    // Up to n tokens that may follow the text; none where nothing is likely.
    virtual std::vector<llama_token> propose(const std::vector<llama_token> & text, std::size_t n) = 0;

    // Throws InvalidOption if it cannot draft for this model. `main` stops our work too.
    virtual void attach(const Context & main) = 0;

    std::size_t n_max() const { return n_max_; }

  protected:
    explicit Draft(int64_t n_max);

  private:
    std::size_t n_max_;
};

// What followed when the last tokens stood in the text before.
class NgramDraft : public Draft {
  public:
    // Compares the last `longest` tokens, then fewer, down to `shortest`.
    NgramDraft(int64_t n_max, int64_t shortest, int64_t longest);
    std::vector<llama_token> propose(const std::vector<llama_token> & text, std::size_t n) override;
    void                     attach(const Context &) override {}

  private:
    std::size_t shortest_;
    std::size_t longest_;
};

// The most likely tokens of a smaller model.
class ModelDraft : public Draft {
  public:
    // Guesses end where the best is less likely than p_min.
    ModelDraft(std::shared_ptr<Context> context, int64_t n_max, float p_min);
    ~ModelDraft() override;
    std::vector<llama_token> propose(const std::vector<llama_token> & text, std::size_t n) override;
    void                     attach(const Context & main) override;

  private:
    std::shared_ptr<Context>  context_;
    std::unique_ptr<Sequence> sequence_;
    const Context *           main_ = nullptr;
    float                     p_min_;
};

}  // namespace smith
