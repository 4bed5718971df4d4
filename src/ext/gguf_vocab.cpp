#include "gguf_vocab.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string_view>

#include "errors.hpp"
#include "utf8.hpp"

namespace smith {

namespace {

constexpr int32_t  type_normal     = 1;  // LLAMA_TOKEN_TYPE_*
constexpr int32_t  type_byte       = 6;
constexpr int64_t  max_dummies     = 1 << 22;    // tokens of a vocabulary without texts; upstream makes an object for each
constexpr uint64_t max_decoded     = 256u << 20; // bytes, see check_bpe()
constexpr uint64_t max_cubes       = 2000000000; // see check_plamo2(); seconds
constexpr std::size_t max_replacement = 512;        // bytes for one character, see check_unigram()

class Vocab {
  public:
    Vocab(const std::string & path, const GgufVocab & vocab) : path_(path), vocab_(vocab) {}

    std::size_t size() const { return vocab_.ends.size(); }

    std::string_view operator[](std::size_t i) const {
        const std::size_t begin = i == 0 ? 0 : vocab_.ends[i - 1];
        return std::string_view(vocab_.texts).substr(begin, vocab_.ends[i] - begin);
    }

    int32_t type(std::size_t i) const { return i < vocab_.types.size() ? vocab_.types[i] : type_normal; }

    const std::string & charsmap() const { return vocab_.charsmap; }

    [[noreturn]] void invalid(const std::string & what) const {
        throw Error("InvalidModel", path_ + " has a vocabulary " + what + " The file is not sound: fetch or convert it anew.");
    }

  private:
    const std::string & path_;
    const GgufVocab &   vocab_;
};

// As upstream calls an empty token.
std::string name_of(const Vocab & vocab, std::size_t i) {
    return vocab[i].empty() ? "[EMPTY_" + std::to_string(i) + "]" : std::string(vocab[i]);
}

// A table of tokens by their hashes, at most half full: a quarter of a million of them takes some milliseconds.
void check_twice(const Vocab & vocab) {
    constexpr uint32_t            none = UINT32_MAX;
    std::deque<std::string>       made;
    std::vector<std::string_view> names(vocab.size());
    std::size_t                   size = 64;
    while (size < 2 * vocab.size()) {
        size *= 2;
    }
    std::vector<uint32_t> table(size, none);
    for (std::size_t i = 0; i < vocab.size(); i++) {
        names[i] = vocab[i].empty() ? std::string_view(made.emplace_back(name_of(vocab, i))) : vocab[i];
        std::size_t place = std::hash<std::string_view>()(names[i]) & (size - 1);
        for (; table[place] != none; place = (place + 1) & (size - 1)) {
            if (names[table[place]] == names[i]) {
                vocab.invalid("with the token '" + std::string(names[i].substr(0, 64)) + "' twice, as " +
                              std::to_string(table[place]) + " and " + std::to_string(i) + ".");
            }
        }
        table[place] = static_cast<uint32_t>(i);
    }
}

// Characters of a token that stand for no byte in GPT-2's table, U+0021 to U+0143 with gaps; at least as many as there are.
std::size_t strange_characters(std::string_view text) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < text.size(); i++) {
        const auto lead = static_cast<unsigned char>(text[i]);
        const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
        const bool two  = next >= 0x80 && next < 0xc0 && ((lead == 0xc2 && next > 0xa0 && next != 0xad) || lead == 0xc3 ||
                                                         lead == 0xc4 || (lead == 0xc5 && next < 0x84));
        count += two || (lead > 0x20 && lead < 0x7f) ? 0 : 1;
        i += two ? 1 : 0;
    }
    return count;
}

// Upstream spells out what no byte stands for, with the whole token for each such character.
void check_bpe(const Vocab & vocab) {
    uint64_t decoded = 0;
    for (std::size_t i = 0; i < vocab.size(); i++) {
        if (vocab.type(i) == type_normal) {
            decoded += strange_characters(vocab[i]) * vocab[i].size();
        }
    }
    if (decoded > max_decoded) {
        vocab.invalid("of " + std::to_string(decoded >> 20) + " MiB, written out (at most " +
                      std::to_string(max_decoded >> 20) + " are allowed).");
    }
}

// Upstream has no text for a byte there.
void check_wordpiece(const Vocab & vocab) {
    for (std::size_t i = 0; i < vocab.size(); i++) {
        if (vocab.type(i) == type_byte) {
            vocab.invalid("of the kind 'bert' with a token for a byte, " + std::to_string(i) + ".");
        }
    }
}

// Each character of a text may be replaced by one that the file gives.
void check_unigram(const Vocab & vocab) {
    const std::string & map = vocab.charsmap();
    uint32_t            trie;
    if (map.size() < sizeof(trie)) {
        return;
    }
    std::memcpy(&trie, map.data(), sizeof(trie));
    std::size_t length = 0;
    for (std::size_t i = sizeof(trie) + std::size_t(trie); i < map.size(); i++) {
        length = map[i] == '\0' ? 0 : length + 1;
        if (length > max_replacement) {
            vocab.invalid("that replaces one character by more than " + std::to_string(max_replacement) + " bytes.");
        }
    }
}

// The first byte of what such a token stands for, or -1 for none; `only` tells whether it is the only one.
int first_byte(std::string_view text, bool & only) {
    if (text.size() < 2 || text[0] != '\\') {
        only = text.size() == 1 && text[0] != '\\';
        return text.empty() || text == "\\" ? -1 : static_cast<unsigned char>(text[0]);
    }
    const auto digit = [&](std::size_t i) { return text[i] >= 'a' ? text[i] - 'a' + 10 : text[i] - '0'; };
    switch (text[1]) {
        case 't': only = text.size() == 2; return '\t';
        case 'n': only = text.size() == 2; return '\n';
        case 'r': only = text.size() == 2; return '\r';
        case 'x':
            only = text.size() == 4;
            return text.size() < 4 ? -1 : static_cast<uint8_t>((digit(2) << 4) + digit(3));
        default:  only = text.size() == 2; return static_cast<unsigned char>(text[1]);
    }
}

// Where a token begins like the text, but no token is a whole beginning of it, upstream does not move on.
void check_rwkv(const Vocab & vocab) {
    bool begins[256] = {}, is_token[256] = {};
    for (std::size_t i = 0; i < vocab.size(); i++) {
        bool      only  = false;
        const int first = first_byte(name_of(vocab, i), only);
        if (first >= 0) {
            begins[first] = true;
            is_token[first] |= only;
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        if (begins[byte] && !is_token[byte]) {
            vocab.invalid("of the kind 'rwkv' without a token for the byte " + std::to_string(byte) +
                          ", with which others begin.");
        }
    }
}

// Upstream lists all parts of all ends of each token.
void check_plamo2(const Vocab & vocab) {
    uint64_t cubes = 0;
    for (std::size_t i = 0; i < vocab.size(); i++) {
        if (vocab.type(i) == type_byte) {
            continue;
        }
        const std::string_view text = vocab[i];
        if (!is_utf8(text)) {
            vocab.invalid("of the kind 'plamo2' with the token " + std::to_string(i) + " that is not UTF-8.");
        }
        cubes += text.size() * text.size() * text.size();
    }
    if (cubes > max_cubes) {
        vocab.invalid("of the kind 'plamo2' with tokens that are too long.");
    }
}

std::string text_of(const GgufFacts & facts, const std::vector<std::pair<std::string, MetaValue>> & overrides,
                    const std::string & key) {
    for (const auto & [name, value] : overrides) {
        if (name == key && std::holds_alternative<std::string>(value)) {
            return std::get<std::string>(value);
        }
    }
    const auto found = facts.texts.find(key);
    return found == facts.texts.end() ? "" : found->second;
}

}  // namespace

void check_vocab(const std::string & path, const GgufFacts & facts,
                 const std::vector<std::pair<std::string, MetaValue>> & overrides) {
    const std::string kind = text_of(facts, overrides, "tokenizer.ggml.model");
    const Vocab       vocab(path, facts.vocab);
    if (kind.empty()) {
        return;  // llama.cpp says so itself
    }
    if (kind == "none" || kind == "no_vocab") {
        const std::string key    = text_of(facts, overrides, "general.architecture") + ".vocab_size";
        const auto        number = facts.numbers.find(key);
        int64_t           count  = number == facts.numbers.end() ? 0 : number->second;
        for (const auto & [name, value] : overrides) {
            count = name == key && std::holds_alternative<int64_t>(value) ? std::get<int64_t>(value) : count;
        }
        if (count < 0 || count > max_dummies) {
            throw Error("InvalidModel", path + " has " + key + " = " + std::to_string(count) + ". Allowed: 0 to " +
                                            std::to_string(max_dummies) + ". The file, or what kv_overrides says, is not sound.");
        }
        return;
    }
    if (!facts.vocab.listed) {
        return;  // llama.cpp says so itself
    }
    if (vocab.size() == 0) {
        vocab.invalid("without tokens.");
    }
    check_twice(vocab);
    if (kind == "bert") {
        check_wordpiece(vocab);
    } else if (kind == "t5") {
        check_unigram(vocab);
    } else if (kind == "rwkv") {
        check_rwkv(vocab);
    } else if (kind == "plamo2") {
        check_plamo2(vocab);
    } else if (kind != "llama" && kind != "test") {
        check_bpe(vocab);
        // Spaces reach a look-up of merges, which has none, unless the tokenizer drops them before.
        if (kind != "whitespace" && text_of(facts, overrides, "tokenizer.ggml.pre") == "whitespace") {
            vocab.invalid("whose pre-tokenizer 'whitespace' does not belong to its kind '" + kind + "'.");
        }
    }
}

}  // namespace smith
