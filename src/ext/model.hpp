// A loaded model: weights and vocabulary. Immutable, so all threads may use it at once.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "llama.h"
#include "model_params.hpp"
#include "rpc.hpp"

namespace smith {

class Model {
  public:
    // Checks the file, then loads it. Throws ModelNotFound, InvalidModel, InvalidOption, RpcError, or Interrupted.
    Model(const std::string & path, const ModelOptions & options);
    ~Model();

    llama_model *       get() const { return model_.get(); }
    const llama_vocab * vocab() const { return llama_model_get_vocab(model_.get()); }
    bool                vocab_only() const { return vocab_only_; }
    bool                no_alloc() const { return no_alloc_; }  // its tensors have no memory behind them
    const std::string & path() const { return path_; }
    const Servers &     servers() const { return servers_; }
    bool                rearranges() const { return params_->params.use_extra_bufts; }  // weights, for faster kernels

    // Each context that evaluates the model, for as long as it can. Throws SessionBusy while the model is trained.
    class Use {
      public:
        explicit Use(const Model & model);
        ~Use();
        Use(const Use &)             = delete;
        Use & operator=(const Use &) = delete;

      private:
        const Model & model_;
    };

    // While one lives, weights change. Throws SessionBusy while they are read by save().
    class Change {
      public:
        explicit Change(const Model & model);

      private:
        std::unique_lock<std::mutex> lock_;
    };

    // The caller's context is the only one from now on. Throws SessionBusy if there are others.
    void begin_training() const;
    void end_training() const;

    int32_t     n_vocab() const { return llama_vocab_n_tokens(vocab()); }
    std::string desc() const;
    std::string metadata(const std::string & key) const;  // empty if there is no such key
    std::vector<std::string> chat_template_names() const;  // "" is the default one

    // Writes a GGUF file. Throws InvalidOption or ModelNotFound.
    void save(const std::string & path) const;

    // `text` is valid UTF-8.
    std::vector<llama_token> tokenize(const std::string & text, bool add_special, bool parse_special) const;
    std::string detokenize(const std::vector<llama_token> & tokens, bool remove_special, bool unparse_special) const;
    std::string piece(llama_token token, bool special, int32_t lstrip = 0) const;

    // Throws InvalidOption unless every token is in the vocabulary.
    void check_tokens(const std::vector<llama_token> & tokens) const;
    void check_token(int64_t token) const;
    void need_vocabulary() const;

  private:
    struct Free {
        void operator()(llama_model * model) const { llama_model_free(model); }
    };

    std::string                        path_;
    bool                               vocab_only_;
    bool                               no_alloc_;
    int                                made_by_;
    Servers                            servers_;  // connected longer than the model lives
    std::unique_ptr<ModelParams>       params_;  // the model keeps pointers into it
    std::unique_ptr<llama_model, Free> model_;

    mutable std::mutex use_;  // guards the next two
    mutable int        users_    = 0;
    mutable bool       training_ = false;
    mutable std::mutex weights_;  // held while all of them are read, or changed
};

}  // namespace smith
