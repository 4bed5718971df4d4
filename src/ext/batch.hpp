// Tokens, or embeddings in their place, of one or many sequences, to be evaluated together.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "llama.h"

namespace smith {

class Context;

class Batch {
  public:
    explicit Batch(const Context & context);
    Batch(const Batch &)             = delete;
    Batch & operator=(const Batch &) = delete;

    // Each returns the place in the batch. Throw InvalidOption for what the context cannot take, ContextFull where the
    // batch is full, SessionBusy while the batch is being evaluated.
    int32_t add(int64_t token, int64_t pos, const std::vector<int64_t> & seq_ids, bool output);
    int32_t add_embedding(const float * row, int64_t n_embd, const std::vector<int64_t> & pos,
                          const std::vector<int64_t> & seq_ids, bool output);
    // The tokens from `first_output` on have an output.
    void    extend(const llama_token * tokens, std::size_t n, int64_t pos, int64_t seq_id, std::size_t first_output);
    void    set_embedding(int64_t index, const float * row, int64_t n_embd);  // beside the token at that place
    void    set_output(int64_t index, bool output);
    void    clear();

    std::size_t size() const { return outputs_.size(); }
    int64_t     capacity() const { return n_max_; }
    int64_t     n_outputs() const;
    int32_t     n_pos() const { return n_pos_; }  // positions that an embedding has: one, or one for each axis (M-RoPE)

    llama_batch_ext *           get() const { return batch_.get(); }
    const llama_context *       of() const { return context_.get(); }
    const std::vector<int8_t> & outputs() const { return outputs_; }
    const std::vector<int32_t> & sequences() const { return sequences_; }  // that have a token here; with repetitions

    class Use {  // while it is evaluated, nobody may change it
      public:
        explicit Use(Batch & batch);
        ~Use() { batch_.used_.store(false); }
        Use(const Use &)             = delete;
        Use & operator=(const Use &) = delete;

      private:
        Batch & batch_;
    };

  private:
    struct Free {
        void operator()(llama_batch_ext * batch) const { llama_batch_ext_free(batch); }
    };

    void    need_free() const;
    void    check(const std::vector<int64_t> & pos, const std::vector<int64_t> & seq_ids) const;
    void    check_index(int64_t index) const;
    void    check_row(const float * row, int64_t n_embd) const;
    int32_t finish(int32_t index, const std::vector<int64_t> & pos, const std::vector<int64_t> & seq_ids, bool output);

    std::shared_ptr<llama_context>         context_;  // upstream's batch looks at its memory
    std::unique_ptr<llama_batch_ext, Free> batch_;
    int64_t                                n_max_;
    int64_t                                n_seq_max_;
    int64_t                                n_vocab_;
    int64_t                                n_embd_;
    int32_t                                n_pos_;
    bool                                   has_tokens_ = false;
    bool                                   has_rows_   = false;
    std::vector<int8_t>                    outputs_;
    std::vector<int8_t>                    rows_;  // which have an embedding
    std::vector<int32_t>                   sequences_;
    std::atomic<bool>                      used_{ false };
};

}  // namespace smith
