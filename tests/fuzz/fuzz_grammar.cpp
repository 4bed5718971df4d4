// A grammar up to the first NUL, and bytes that choose among the tokens it allows.
#include <algorithm>
#include <cmath>

#include "abort_guard.hpp"
#include "errors.hpp"
#include "grammar_check.hpp"
#include "small_model.hpp"

static void run(const llama_vocab * vocab, const std::string & grammar, const uint8_t * choice, size_t n) {
    smith::check_grammar(vocab, grammar, "root");
    llama_sampler * sampler = llama_sampler_init_grammar(vocab, grammar.c_str(), "root");
    if (sampler == nullptr) {
        return;
    }
    std::vector<llama_token_data> all;
    for (size_t step = 0; step <= std::min<size_t>(n, 12); step++) {
        all.clear();
        for (llama_token token = 0; token < llama_vocab_n_tokens(vocab); token++) {
            all.push_back({ token, 0.0f, 0.0f });
        }
        llama_token_data_array array = { all.data(), all.size(), -1, false };
        llama_sampler_apply(sampler, &array);
        std::vector<llama_token> allowed;
        for (const llama_token_data & one : all) {
            if (one.logit != -INFINITY) {
                allowed.push_back(one.id);
            }
        }
        if (allowed.empty() || step == n) {
            break;
        }
        const llama_token token = allowed[choice[step] % allowed.size()];
        if (llama_vocab_is_eog(vocab, token)) {
            break;
        }
        try {
            llama_sampler_accept(sampler, token);
        } catch (const std::exception &) {  // the extension lets such a chain do nothing more
            break;
        }
    }
    llama_sampler_free(sampler);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size) {
    const uint8_t *   end = std::find(data, data + size, 0);
    const std::string grammar(reinterpret_cast<const char *>(data), end - data);
    const auto        n = end == data + size ? 0 : static_cast<size_t>(data + size - end - 1);
    try {
        run(llama_model_get_vocab(sound_models()[0].get()), grammar, end + (n > 0 ? 1 : 0), n);
    } catch (const smith::Error &) {
    }
    return 0;
}
