// A loaded model: weights and vocabulary. Immutable, so all threads may use it at once.
#pragma once

#include <cstdint>
#include <memory>
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
};

}  // namespace smith
