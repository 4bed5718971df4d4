#include "small_model.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "abort_guard.hpp"
#include "errors.hpp"
#include "gguf.hpp"
#include "gguf_vocab.hpp"
#include "tokenizing.hpp"

SmallModel load_file(const std::string & path) {
    static const bool prepared = [] {
        llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
        smith::catch_aborts();
        return true;
    }();
    (void) prepared;
    const smith::GgufFacts facts = smith::check_gguf_files(path);
    smith::check_vocab(path, facts, {});
    llama_model_params params = llama_model_default_params();
    params.vocab_only         = true;
    try {
        const smith::AbortGuard guard;
        return SmallModel(llama_model_load_from_file(path.c_str(), params));
    } catch (const std::exception &) {
        return nullptr;
    }
}

SmallModel load_bytes(const uint8_t * data, std::size_t size) {
    static const int file = memfd_create("model", 0);
    if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) {
        std::abort();
    }
    return load_file("/proc/self/fd/" + std::to_string(file));
}

const std::vector<SmallModel> & sound_models() {
    static const std::vector<SmallModel> models = [] {
        const char *             folder = std::getenv("LLAMASMITH_FUZZ_VOCABS");
        std::vector<std::string> paths;
        for (const auto & entry : std::filesystem::directory_iterator(folder == nullptr ? "." : folder)) {
            paths.push_back(entry.path());
        }
        std::sort(paths.begin(), paths.end());
        std::vector<SmallModel> out;
        for (const std::string & path : paths) {
            out.push_back(load_file(path));
            if (!out.back()) {
                std::abort();  // they are sound
            }
        }
        return out;
    }();
    return models;
}

void use(const llama_model * model, const std::string & text, bool add_special, bool parse_special) {
    const llama_vocab * vocab = llama_model_get_vocab(model);
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE) {
        return;
    }
    try {
        std::vector<llama_token> tokens = smith::tokenize(vocab, "model", text, add_special, parse_special);
        const auto in_vocab = [&](llama_token t) { return t >= 0 && t < llama_vocab_n_tokens(vocab); };
        tokens.erase(std::remove_if(tokens.begin(), tokens.end(), [&](llama_token t) { return !in_vocab(t); }), tokens.end());
        smith::detokenize(vocab, "model", tokens, add_special, parse_special);
        smith::detokenize(vocab, "model", tokens, !add_special, !parse_special);
    } catch (const smith::Error &) {
    }
}
