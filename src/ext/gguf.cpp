#include "gguf.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "gguf_reader.hpp"
#include "gguf_tensors.hpp"
#include "llama.h"

namespace smith {

namespace {

// Limits far above any real model, far below what exhausts memory.
constexpr uint64_t max_tensors       = 1u << 20;
constexpr uint64_t max_keys          = 1u << 16;
constexpr uint64_t max_key_length    = 65535;
constexpr uint32_t default_alignment = 32;
constexpr uint64_t max_short         = 512;  // elements of a list, bytes of a text: what describes a shape has no more
constexpr uint64_t max_charsmap      = 64u << 20;  // bytes; T5's has a quarter of a million
// Bytes. Upstream walks down the tries of some vocabularies, and through a grammar, with a stack as deep as a token is long.
constexpr uint64_t max_token = 4096;

struct Header {
    uint64_t n_tensors;
    uint64_t n_keys;
};

Header read_header(GgufReader & in) {
    if (in.size() == 0) {
        in.invalid("is empty. Fetch it again.");
    }
    char magic[4] = {};
    in.read_bytes(magic, sizeof(magic), "its first four bytes");
    if (std::memcmp(magic, "GGUF", 4) != 0) {
        in.invalid("is not a GGUF file: it does not begin with 'GGUF'. Convert the model, or fetch its .gguf file.");
    }
    const auto version = in.read<uint32_t>("its header");
    if ((version & 0xffffu) == 0) {
        in.invalid("is a GGUF file for machines of the other byte order. Fetch the little-endian one.");
    }
    if (version < 2 || version > 3) {
        in.invalid("has GGUF version " + std::to_string(version) + "; 2 and 3 can be read. Convert it anew.");
    }
    Header header;
    header.n_tensors = in.read<uint64_t>("its header");
    header.n_keys    = in.read<uint64_t>("its header");
    if (header.n_tensors > max_tensors || header.n_keys > max_keys) {
        in.invalid("claims " + std::to_string(header.n_tensors) + " tensors and " + std::to_string(header.n_keys) +
                   " metadata keys: it is not a sound GGUF file.");
    }
    return header;
}

// The whole number of a type of fixed size, from its bytes.
int64_t whole_number(uint32_t type, const char * bytes) {
    const auto as = [bytes](auto value) {
        std::memcpy(&value, bytes, sizeof(value));
        return static_cast<int64_t>(value);
    };
    switch (type) {
        case U8: case BOOL: return as(uint8_t());
        case I8:            return as(int8_t());
        case U16:           return as(uint16_t());
        case I16:           return as(int16_t());
        case U32:           return as(uint32_t());
        case I32:           return as(int32_t());
        default:            return as(int64_t());
    }
}

bool is_whole(uint32_t type) {
    return size_of(type) != 0 && type != F32 && type != F64;
}

void read_numbers(GgufReader & in, uint32_t type, uint64_t count, const std::string & key, GgufFacts & facts,
                  std::vector<int64_t> * list) {
    for (uint64_t i = 0; i < count; i++) {
        char bytes[8] = {};
        in.read_bytes(bytes, size_of(type), "a value");
        const int64_t value = whole_number(type, bytes);
        const auto    place = facts.numbers.emplace(key, value).first;
        place->second       = std::max(place->second, value);
        if (list != nullptr) {
            list->push_back(value);
        }
    }
}

void read_tokens(GgufReader & in, uint64_t count, GgufVocab & vocab) {
    vocab.listed = true;
    for (uint64_t i = 0; i < count; i++) {
        vocab.texts += in.read_string(max_token, "token");
        vocab.ends.push_back(vocab.texts.size());
    }
}

void read_array(GgufReader & in, const std::string & key, GgufFacts & facts) {
    const auto element = in.read<uint32_t>("an array");
    const auto count   = in.read<uint64_t>("an array");
    if (element == STRING) {
        if (key == "tokenizer.ggml.tokens") {
            read_tokens(in, count, facts.vocab);
            return;
        }
        for (uint64_t i = 0; i < count; i++) {
            in.skip(in.read<uint64_t>("a text"), "a text");
        }
        return;
    }
    const uint64_t size = size_of(element);
    if (size == 0) {
        in.invalid("has an array of unknown type " + std::to_string(element) + " in key '" + key + "'.");
    }
    in.need(count > in.size() ? UINT64_MAX : count * size, "an array");
    if (key == "tokenizer.ggml.token_type" && element == I32) {
        facts.vocab.types.resize(count);
        in.read_bytes(facts.vocab.types.data(), count * size, "an array");
    } else if (key == "tokenizer.ggml.precompiled_charsmap" && size == 1 && count <= max_charsmap) {
        facts.vocab.charsmap.resize(count);
        in.read_bytes(facts.vocab.charsmap.data(), count, "an array");
    } else if (is_whole(element) && count <= max_short) {
        read_numbers(in, element, count, key, facts, &facts.lists[key]);
    } else {
        in.skip(count * size, "an array");
    }
}

void read_value(GgufReader & in, uint32_t type, const std::string & key, GgufFacts & facts) {
    if (type == STRING) {
        const auto length = in.read<uint64_t>("a text");
        if (length > max_short) {
            in.skip(length, "a text");
            return;
        }
        std::string text(length, '\0');
        in.read_bytes(text.data(), length, "a text");
        facts.texts.emplace(key, std::move(text));
    } else if (type == ARRAY) {
        read_array(in, key, facts);
    } else if (size_of(type) == 0) {
        in.invalid("has a value of unknown type " + std::to_string(type) + " in key '" + key + "'.");
    } else if (is_whole(type)) {
        read_numbers(in, type, 1, key, facts, nullptr);
    } else if (type == F32) {
        facts.reals.emplace(key, in.read<float>("a value"));
    } else {
        in.skip(size_of(type), "a value");
    }
}

// Returns the alignment of tensor data.
uint32_t read_metadata(GgufReader & in, uint64_t n_keys, bool model, GgufFacts & facts) {
    uint32_t                        alignment        = default_alignment;
    bool                            has_architecture = false;
    std::unordered_set<std::string> seen;
    for (uint64_t i = 0; i < n_keys; i++) {
        const std::string key  = in.read_string(max_key_length, "metadata key");
        const auto        type = in.read<uint32_t>("a metadata type");
        if (!seen.insert(key).second) {
            in.invalid("has the metadata key '" + key + "' twice.");
        }
        if (key == "general.alignment") {
            if (type != U32) {
                in.invalid("has a 'general.alignment' that is not a 32-bit number.");
            }
            alignment = in.read<uint32_t>("its alignment");
            if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
                in.invalid("has the alignment " + std::to_string(alignment) + ", which is not a power of two.");
            }
            continue;
        }
        if (key == "split.no" && type != U16) {  // upstream asks only whether it is there
            in.invalid("has a 'split.no' that is not a 16-bit number.");
        }
        has_architecture = has_architecture || (key == "general.architecture" && type == STRING);
        read_value(in, type, key, facts);
    }
    if (model && !has_architecture) {
        in.invalid("does not name its architecture ('general.architecture'): it is not a model.");
    }
    return alignment;
}

GgufFacts check_one(const std::string & path, bool model, bool first) {
    GgufReader     in(path);
    const Header   header = read_header(in);
    GgufFacts      facts;
    const uint32_t alignment = read_metadata(in, header.n_keys, model && first, facts);
    check_tensors(in, header.n_tensors, alignment, model);
    return facts;
}

}  // namespace

GgufFacts check_gguf(const std::string & path, bool model) {
    return check_one(path, model, true);
}

GgufFacts check_gguf_files(const std::string & path) {
    GgufFacts  facts = check_one(path, true, true);
    const auto count = facts.numbers.find("split.count");
    if (count == facts.numbers.end() || count->second < 2 || count->second > UINT16_MAX) {
        return facts;
    }
    // Its name is not one of a split file: upstream says so.
    const auto        files = static_cast<int32_t>(count->second);
    std::vector<char> prefix(path.size() + 1), name(path.size() + 64);
    if (llama_split_prefix(prefix.data(), prefix.size(), path.c_str(), 0, files) <= 0) {
        return facts;
    }
    for (int32_t i = 1; i < files; i++) {
        llama_split_path(name.data(), name.size(), prefix.data(), i, files);
        check_one(name.data(), true, false);
    }
    return facts;
}

}  // namespace smith
