#include "model.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <new>

#include "abort_guard.hpp"
#include "engine.hpp"
#include "errors.hpp"
#include "gguf.hpp"
#include "gguf_vocab.hpp"
#include "log.hpp"
#include "shape.hpp"
#include "tokenizing.hpp"

namespace smith {

namespace {

struct Progress {
    const std::function<bool(float)> & ask;
    bool                               refused;
};

bool on_progress(float fraction, void * data) {
    auto * progress = static_cast<Progress *>(data);
    if (progress->ask && !progress->ask(fraction)) {
        progress->refused = true;
        return false;
    }
    return true;
}

}  // namespace

Model::Model(const std::string & path, const ModelOptions & options)
    : path_(path), vocab_only_(options.vocab_only), no_alloc_(options.no_alloc), made_by_(getpid()) {
    engine();
    GgufFacts facts = check_gguf_files(path);
    check_vocab(path, facts, options.kv_overrides);
    facts.vocab = {};  // megabytes
    if (!options.vocab_only) {
        check_shape(path, facts, options.kv_overrides);
    }

    Progress progress{ options.progress, false };
    params_                   = std::make_unique<ModelParams>(options);
    servers_                  = Servers(options.rpc);
    params_->add(servers_);
    llama_model_params params = params_->params;
    params.progress_callback           = on_progress;
    params.progress_callback_user_data = &progress;

    const Servers::Turn turn(servers_);
    take_complaints();
    try {
        const AbortGuard guard;
        model_.reset(llama_model_load_from_file(path.c_str(), params));
    } catch (const std::bad_alloc &) {
        throw Error("NotEnoughMemory", path + " does not fit into memory.");
    } catch (const std::exception & error) {
        servers_.check();
        throw Error("InvalidModel", path + " cannot be loaded: " + error.what() + ".");
    }
    servers_.check();
    if (progress.refused) {
        throw Interrupted();
    }
    if (!model_) {
        const std::string why = take_complaints();
        throw Error("InvalidModel", path + " cannot be loaded by the pinned llama.cpp" +
                                        (why.empty() ? "." : ":\n" + why));
    }
    if (!options.vocab_only) {
        check_rope(path, facts, options.kv_overrides, llama_model_rope_type(model_.get()));
    }
}

Model::~Model() {
    if (!servers_.empty() && getpid() != made_by_) {
        model_.release();  // in a forked child, whose connections have no thread to free anything through
    }
    const Servers::Turn turn(servers_);
    model_.reset();
}

Model::Use::Use(const Model & model) : model_(model) {
    const std::lock_guard<std::mutex> lock(model.use_);
    if (model.training_) {
        throw Error("SessionBusy", model.path_ + " is being trained. Make sessions when that is over.");
    }
    model.users_++;
}

Model::Use::~Use() {
    const std::lock_guard<std::mutex> lock(model_.use_);
    model_.users_--;
}

Model::Change::Change(const Model & model) : lock_(model.weights_, std::try_to_lock) {
    if (!lock_.owns_lock()) {
        throw Error("SessionBusy", model.path_ + " is being saved by another thread. Train it when that is over.");
    }
}

void Model::begin_training() const {
    const std::lock_guard<std::mutex> lock(use_);
    if (users_ != 1) {
        throw Error("SessionBusy", path_ + " has " + std::to_string(users_ - 1) + " open session(s), whose weights would change "
                                   "under them. Close them to train the model.");
    }
    training_ = true;
}

void Model::end_training() const {
    const std::lock_guard<std::mutex> lock(use_);
    training_ = false;
}

std::string Model::desc() const {
    char      text[256];
    const int length = llama_model_desc(model_.get(), text, sizeof(text));
    return length < 0 ? "" : text;
}

std::string Model::metadata(const std::string & key) const {
    const int length = llama_model_meta_val_str(model_.get(), key.c_str(), nullptr, 0);
    if (length < 0) {
        return "";
    }
    std::string value(static_cast<std::size_t>(length) + 1, '\0');
    llama_model_meta_val_str(model_.get(), key.c_str(), value.data(), value.size());
    value.resize(static_cast<std::size_t>(length));
    return value;
}

std::vector<std::string> Model::chat_template_names() const {
    const std::string        key = "tokenizer.chat_template";
    std::vector<std::string> names;
    for (int32_t i = 0; i < llama_model_meta_count(model_.get()); i++) {
        char          name[512];
        const int32_t length = llama_model_meta_key_by_index(model_.get(), i, name, sizeof(name));
        if (length < 0 || length >= static_cast<int32_t>(sizeof(name)) || key.compare(0, key.size(), name, key.size()) != 0) {
            continue;
        }
        if (name[key.size()] == '\0') {
            names.insert(names.begin(), "");
        } else if (name[key.size()] == '.') {
            names.emplace_back(name + key.size() + 1);
        }
    }
    return names;
}

void Model::save(const std::string & path) const {
    if (vocab_only_ || no_alloc_) {
        throw Error("InvalidOption", path_ + " was loaded without its weights, which a model file needs.");
    }
    if (params_->params.use_extra_bufts) {
        throw Error("InvalidOption", path_ + " was loaded with its weights rearranged, in which form no file has them. Load "
                                             "it with use_extra_bufts=False to save it.");
    }
    for (const char * arch : { "gemma3n", "bitnet", "t5", "apertus", "step35" }) {  // llama_model_saver_supports_arch()
        if (metadata("general.architecture") == arch) {
            throw Error("InvalidOption", "llama.cpp cannot save models of the architecture '" + std::string(arch) + "'.");
        }
    }
    struct stat from = {}, to = {};
    if (stat(path.c_str(), &to) == 0 && stat(path_.c_str(), &from) == 0 && from.st_dev == to.st_dev &&
        from.st_ino == to.st_ino) {
        throw Error("InvalidOption", path + " is the model's own file, which is read while it is written. Give another.");
    }
    const std::unique_lock<std::mutex> reading(weights_, std::try_to_lock);
    if (!reading.owns_lock()) {
        throw Error("SessionBusy", path_ + " is being trained or saved by another thread. Save it when that is over.");
    }
    std::FILE * file = std::fopen(path.c_str(), "wb");  // upstream says nothing of a file that it cannot write
    if (file == nullptr) {
        throw Error("ModelNotFound", "Cannot write " + path + ": " + std::strerror(errno) + ".");
    }
    std::fclose(file);
    take_complaints();
    try {
        llama_model_save_to_file(model_.get(), path.c_str());
    } catch (const std::exception & error) {
        throw Error("InvalidOption", path_ + " cannot be saved: " + error.what() + ".");
    }
}

void Model::need_vocabulary() const {
    if (llama_vocab_type(vocab()) == LLAMA_VOCAB_TYPE_NONE) {
        throw Error("InvalidOption", path_ + " has no vocabulary: give token ids instead of text.");
    }
}

std::vector<llama_token> Model::tokenize(const std::string & text, bool add_special, bool parse_special) const {
    need_vocabulary();
    if (text.size() > INT32_MAX / 2) {
        throw Error("InvalidOption", "The text has " + std::to_string(text.size()) + " bytes; at most " +
                                         std::to_string(INT32_MAX / 2) + " can be tokenised at once.");
    }
    return smith::tokenize(vocab(), path_, text, add_special, parse_special);
}

std::string Model::detokenize(const std::vector<llama_token> & tokens, bool remove_special,
                              bool unparse_special) const {
    need_vocabulary();
    check_tokens(tokens);
    return smith::detokenize(vocab(), path_, tokens, remove_special, unparse_special);
}

std::string Model::piece(llama_token token, bool special, int32_t lstrip) const {
    char    small[64];
    int32_t n = llama_token_to_piece(vocab(), token, small, sizeof(small), lstrip, special);
    if (n >= 0) {
        return { small, static_cast<std::size_t>(n) };
    }
    std::string large(static_cast<std::size_t>(-n), '\0');
    n = llama_token_to_piece(vocab(), token, large.data(), -n, lstrip, special);
    large.resize(static_cast<std::size_t>(n < 0 ? 0 : n));
    return large;
}

void Model::check_token(int64_t token) const {
    if (token < 0 || token >= n_vocab()) {
        throw Error("InvalidOption", "Token " + std::to_string(token) + " is not in the vocabulary (0 to " +
                                         std::to_string(n_vocab() - 1) + ").");
    }
}

void Model::check_tokens(const std::vector<llama_token> & tokens) const {
    if (tokens.size() > INT32_MAX) {
        throw Error("InvalidOption", "Too many tokens at once.");
    }
    const int32_t limit = n_vocab();
    for (std::size_t i = 0; i < tokens.size(); i++) {
        if (tokens[i] < 0 || tokens[i] >= limit) {
            throw Error("InvalidOption", "Token " + std::to_string(tokens[i]) + " at index " + std::to_string(i) +
                                             " is not in the vocabulary (0 to " + std::to_string(limit - 1) + ").");
        }
    }
}

}  // namespace smith
