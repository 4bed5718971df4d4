#include "generation.hpp"

#include "errors.hpp"

namespace smith {

Generation::Generation(const GenerationOptions & given, const std::vector<llama_token> & prompt, const Model & model)
    : options(given), sampler(given.sampler), stream(given.stop) {
    if (prompt.empty()) {
        throw Error("InvalidOption", "The prompt has no tokens: give at least one character or token.");
    }
    if (options.max_tokens < -1) {
        throw Error("InvalidOption", "max_tokens is " + std::to_string(options.max_tokens) +
                                         ". Allowed: 0 and more, or None for as many as fit.");
    }
    for (const std::string & stop : options.stop) {
        if (stop.empty()) {
            throw Error("InvalidOption", "A stop string is empty; it would end every text at once.");
        }
    }
    model.check_tokens(prompt);
    timings.prompt_tokens = static_cast<int64_t>(prompt.size());
}

llama_token Generation::choose(const float * logits, const Model & model) {
    const llama_token token = options.chain ? options.chain->sample(logits, model) : sampler.sample(logits, model.n_vocab());
    if (!options.ignore_eos && llama_vocab_is_eog(model.vocab(), token)) {
        stop_reason = "eos";
        return LLAMA_TOKEN_NULL;
    }
    tokens.push_back(token);
    timings.generated_tokens++;
    stream.push(model.piece(token, false));
    if (stream.stopped()) {
        stop_reason = "stop";
    } else if (timings.generated_tokens == options.max_tokens) {
        stop_reason = "length";
    }
    return token;
}

}  // namespace smith
