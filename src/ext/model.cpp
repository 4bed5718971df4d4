#include "model.hpp"

#include <unistd.h>

#include <climits>

#include "engine.hpp"
#include "errors.hpp"
#include "gguf.hpp"
#include "log.hpp"

namespace smith {

namespace {

// Not llama_load_mode_from_str(): it throws for an unknown name too, but does not say which are known.
llama_load_mode load_mode(const std::string & name) {
    for (const llama_load_mode mode : { LLAMA_LOAD_MODE_AUTO, LLAMA_LOAD_MODE_NONE, LLAMA_LOAD_MODE_MMAP,
                                        LLAMA_LOAD_MODE_MLOCK, LLAMA_LOAD_MODE_MMAP_MLOCK,
                                        LLAMA_LOAD_MODE_DIRECT_IO }) {
        if (name == llama_load_mode_name(mode)) {
            return mode;
        }
    }
    std::string allowed;
    for (int mode = LLAMA_LOAD_MODE_AUTO; mode <= LLAMA_LOAD_MODE_DIRECT_IO; mode++) {
        allowed += (allowed.empty() ? "" : ", ") + std::string(llama_load_mode_name(static_cast<llama_load_mode>(mode)));
    }
    throw Error("InvalidOption", "load_mode is '" + name + "'. Allowed: " + allowed + ".");
}

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

Model::Model(const std::string & path, const ModelOptions & options) : path_(path), vocab_only_(options.vocab_only), made_by_(getpid()) {
    engine();
    check_gguf(path);
    servers_ = Servers(options.rpc);

    Progress           progress{ options.progress, false };
    llama_model_params params         = llama_model_default_params();
    params.vocab_only                 = options.vocab_only;
    params.check_tensors              = options.check_tensors;
    params.use_extra_bufts            = options.use_extra_bufts;
    params.n_gpu_layers               = options.n_gpu_layers;
    params.load_mode                  = load_mode(options.load_mode);
    params.progress_callback          = on_progress;
    params.progress_callback_user_data = &progress;

    std::vector<ggml_backend_dev_t> devices = servers_.devices();
    params.devices                          = devices.empty() ? params.devices : devices.data();

    const Servers::Turn turn(servers_);
    take_complaints();
    try {
        model_.reset(llama_model_load_from_file(path.c_str(), params));
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
}

Model::~Model() {
    if (!servers_.empty() && getpid() != made_by_) {
        model_.release();  // in a forked child, whose connections have no thread to free anything through
    }
    const Servers::Turn turn(servers_);
    model_.reset();
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
    const auto               length = static_cast<int32_t>(text.size());
    std::vector<llama_token> tokens(text.size() + 2);  // no token is shorter than a byte; two for begin and end
    int32_t n = llama_tokenize(vocab(), text.data(), length, tokens.data(), static_cast<int32_t>(tokens.size()),
                               add_special, parse_special);
    if (n == INT32_MIN) {
        throw Error("InvalidOption", "The text has more tokens than can be counted.");
    }
    if (n < 0) {
        tokens.resize(static_cast<std::size_t>(-n));
        n = llama_tokenize(vocab(), text.data(), length, tokens.data(), -n, add_special, parse_special);
    }
    tokens.resize(static_cast<std::size_t>(n < 0 ? 0 : n));
    return tokens;
}

std::string Model::detokenize(const std::vector<llama_token> & tokens, bool remove_special,
                              bool unparse_special) const {
    need_vocabulary();
    check_tokens(tokens);
    const auto  count = static_cast<int32_t>(tokens.size());
    std::string text(tokens.size() * 8 + 16, '\0');
    int32_t n = llama_detokenize(vocab(), tokens.data(), count, text.data(), static_cast<int32_t>(text.size()),
                                 remove_special, unparse_special);
    if (n < 0) {
        text.resize(static_cast<std::size_t>(-n));
        n = llama_detokenize(vocab(), tokens.data(), count, text.data(), -n, remove_special, unparse_special);
    }
    text.resize(static_cast<std::size_t>(n < 0 ? 0 : n));
    return text;
}

std::string Model::piece(llama_token token, bool special) const {
    char    small[64];
    int32_t n = llama_token_to_piece(vocab(), token, small, sizeof(small), 0, special);
    if (n >= 0) {
        return { small, static_cast<std::size_t>(n) };
    }
    std::string large(static_cast<std::size_t>(-n), '\0');
    n = llama_token_to_piece(vocab(), token, large.data(), -n, 0, special);
    large.resize(static_cast<std::size_t>(n < 0 ? 0 : n));
    return large;
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
