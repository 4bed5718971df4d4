// A loaded model: weights and vocabulary. Immutable, so all threads may use it at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "llama.h"
#include "rpc.hpp"

namespace smith {

struct ModelOptions {
    bool        vocab_only      = false;
    bool        check_tensors   = false;
    bool        use_extra_bufts = true;
    int32_t     n_gpu_layers    = -1;
    std::string load_mode       = "auto";
    std::vector<std::string> rpc;  // "address:port" of servers that take a part of it
    // Told the fraction loaded, 0 to 1; returns false to give up. Called without the GIL.
    std::function<bool(float)> progress;
};

class Model {
  public:
    // Checks the file, then loads it. Throws ModelNotFound, InvalidModel, InvalidOption, RpcError, or Interrupted.
    Model(const std::string & path, const ModelOptions & options);
    ~Model();

    llama_model *       get() const { return model_.get(); }
    const llama_vocab * vocab() const { return llama_model_get_vocab(model_.get()); }
    bool                vocab_only() const { return vocab_only_; }
    const std::string & path() const { return path_; }
    const Servers &     servers() const { return servers_; }

    int32_t     n_vocab() const { return llama_vocab_n_tokens(vocab()); }
    std::string desc() const;
    std::string metadata(const std::string & key) const;  // empty if there is no such key

    // `text` is valid UTF-8.
    std::vector<llama_token> tokenize(const std::string & text, bool add_special, bool parse_special) const;
    std::string detokenize(const std::vector<llama_token> & tokens, bool remove_special, bool unparse_special) const;
    std::string piece(llama_token token, bool special) const;

    // Throws InvalidOption unless every token is in the vocabulary.
    void check_tokens(const std::vector<llama_token> & tokens) const;

  private:
    struct Free {
        void operator()(llama_model * model) const { llama_model_free(model); }
    };

    void need_vocabulary() const;

    std::string                        path_;
    bool                               vocab_only_;
    int                                made_by_;
    Servers                            servers_;  // connected longer than the model lives
    std::unique_ptr<llama_model, Free> model_;
};

}  // namespace smith
