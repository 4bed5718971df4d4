// A file: the checks, loading without weights, and text to tokens and back.
#include "errors.hpp"
#include "small_model.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size) {
    try {
        const SmallModel model = load_bytes(data, size);
        if (model) {
            for (const char * text : { "hello world", "a  b\n\n\tabc !?\xe2\x80\xa6 \xce\xa9 \xf0\x9f\x8e\x89", "", "<s>abc" }) {
                use(model.get(), text, true, false);
                use(model.get(), text, false, true);
            }
            const llama_vocab *      vocab = llama_model_get_vocab(model.get());
            std::vector<char>        piece(4 * 4096);
            const bool               none = llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE;
            for (llama_token token = 0; !none && token < llama_vocab_n_tokens(vocab); token++) {
                llama_token_to_piece(vocab, token, piece.data(), static_cast<int32_t>(piece.size()), 0, true);
            }
        }
    } catch (const smith::Error &) {
    }
    return 0;
}
