#include "tokenizing.hpp"

#include <algorithm>
#include <climits>
#include <exception>
#include <new>
#include <utility>

#include "abort_guard.hpp"
#include "deep_stack.hpp"
#include "errors.hpp"

namespace smith {

namespace {

// The standard library's regular expressions, by which upstream divides text for many BPE vocabularies, go one level deeper
// for each character of a match. No expression matches across the border between spaces and other characters more than once.
constexpr std::size_t stack_per_byte  = 1024;  // bytes; GCC 12 takes about 400
constexpr std::size_t shallow         = 1024;  // bytes of text that any thread's stack is deep enough for
constexpr std::size_t max_piece       = 4096;  // bytes, as gguf.cpp has it, written out at most 4 times as long
constexpr std::size_t deepest         = std::size_t(4) << 30;  // bytes of address space, used as far as a match goes

// Bytes of the longest two neighbouring runs, of spaces and of others.
std::size_t longest_match(const std::string & text) {
    std::size_t longest = 0, before = 0, run = 0;
    bool        spaces  = false;
    for (const char c : text) {
        const bool space = c == ' ' || (c >= '\t' && c <= '\r');
        if (space != spaces) {
            longest = std::max(longest, before + run);
            before  = run;
            run     = 0;
            spaces  = space;
        }
        run++;
    }
    return std::max(longest, before + run);
}

void need_special(const llama_vocab * vocab, const std::string & path) {
    const auto type = llama_vocab_type(vocab);
    const auto need = [&](bool added, llama_token token, const char * name) {
        if (added && token == LLAMA_TOKEN_NULL) {
            throw Error("InvalidModel", "The vocabulary of " + path + " adds a token '" + name +
                                            "' to texts, but has none. Tokenise with add_special=False, or fetch a sound file.");
        }
    };
    if (type == LLAMA_VOCAB_TYPE_WPM) {
        need(true, llama_vocab_bos(vocab), "bos");
        need(true, llama_vocab_sep(vocab), "sep");
    } else if (type == LLAMA_VOCAB_TYPE_SPM || type == LLAMA_VOCAB_TYPE_BPE || type == LLAMA_VOCAB_TYPE_UGM) {
        need(llama_vocab_get_add_bos(vocab), llama_vocab_bos(vocab), "bos");
        need(llama_vocab_get_add_eos(vocab), llama_vocab_eos(vocab), "eos");
    }
}

// Does it with AbortGuard, and tells why the vocabulary could not.
template <typename Work> void with_vocabulary(const std::string & path, const char * what, Work && work) {
    try {
        const AbortGuard guard;
        work();
    } catch (const Error &) {
        throw;
    } catch (const std::bad_alloc &) {
        throw Error("NotEnoughMemory", std::string(what) + " takes more memory than there is.");
    } catch (const std::exception & error) {
        throw Error("InvalidModel", "The vocabulary of " + path + " cannot express this: " + error.what() + ".");
    }
}

}  // namespace

std::vector<llama_token> tokenize(const llama_vocab * vocab, const std::string & path, const std::string & text,
                                  bool add_special, bool parse_special) {
    if (add_special) {
        need_special(vocab, path);
    }
    std::vector<llama_token> tokens;
    const auto work = [&] {
        with_vocabulary(path, "The text", [&] {
            const auto length = static_cast<int32_t>(text.size());
            tokens.resize(text.size() + 2);  // no token is shorter than a byte; two for begin and end
            int32_t n = llama_tokenize(vocab, text.data(), length, tokens.data(), static_cast<int32_t>(tokens.size()),
                                       add_special, parse_special);
            if (n == INT32_MIN) {
                throw Error("InvalidOption", "The text has more tokens than can be counted.");
            }
            if (n < 0) {
                tokens.resize(static_cast<std::size_t>(-n));
                n = llama_tokenize(vocab, text.data(), length, tokens.data(), -n, add_special, parse_special);
            }
            tokens.resize(static_cast<std::size_t>(n < 0 ? 0 : n));
        });
    };
    const bool        matches = llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_BPE && text.size() > shallow;
    const std::size_t match   = matches ? longest_match(text) : 0;
    if (match <= shallow) {
        work();
        return tokens;
    }
    if (match > deepest / stack_per_byte) {
        throw Error("InvalidOption", "The text has " + std::to_string(match) + " bytes in a row without a space between " +
                                         "words; at most " + std::to_string(deepest / stack_per_byte) +
                                         " can be divided into tokens. Tokenise it in parts.");
    }
    on_deep_stack(match * stack_per_byte, work);
    return tokens;
}

std::string detokenize(const llama_vocab * vocab, const std::string & path, const std::vector<llama_token> & tokens,
                       bool remove_special, bool unparse_special) {
    std::string text;
    if (tokens.size() > INT32_MAX / max_piece) {  // upstream counts with 32 bits
        int64_t bytes = 0;
        for (const llama_token token : tokens) {
            bytes -= llama_token_to_piece(vocab, token, nullptr, 0, 0, true);
        }
        if (bytes > INT32_MAX) {
            throw Error("InvalidOption", "The tokens stand for " + std::to_string(bytes) + " bytes of text; at most " +
                                             std::to_string(INT32_MAX) + " can be made at once. Give fewer tokens.");
        }
    }
    with_vocabulary(path, "The text of the tokens", [&] {
        const auto count = static_cast<int32_t>(tokens.size());
        text.resize(tokens.size() * 8 + 16);
        int32_t n = llama_detokenize(vocab, tokens.data(), count, text.data(), static_cast<int32_t>(text.size()),
                                     remove_special, unparse_special);
        if (n < 0) {
            text.resize(static_cast<std::size_t>(-n));
            n = llama_detokenize(vocab, tokens.data(), count, text.data(), -n, remove_special, unparse_special);
        }
        text.resize(static_cast<std::size_t>(n < 0 ? 0 : n));
    });
    return text;
}

}  // namespace smith
