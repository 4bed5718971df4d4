#include "gguf.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <unordered_set>

#include "errors.hpp"
#include "ggml.h"

namespace smith {

namespace {

// Limits far above any real model, far below what exhausts memory. Upstream's tensor names have 64 bytes with the zero.
constexpr uint64_t max_tensors     = 1u << 20;
constexpr uint64_t max_keys        = 1u << 16;
constexpr uint64_t max_key_length  = 65535;
constexpr uint64_t max_name_length = GGML_MAX_NAME - 1;
constexpr uint32_t default_alignment = 32;

enum ValueType : uint32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

// Bytes of a value of fixed size; 0 for the others and for unknown types.
uint64_t size_of(uint32_t type) {
    switch (type) {
        case U8: case I8: case BOOL:   return 1;
        case U16: case I16:            return 2;
        case U32: case I32: case F32:  return 4;
        case U64: case I64: case F64:  return 8;
        default:                       return 0;
    }
}

class Reader {
  public:
    explicit Reader(const std::string & path) : path_(path) {
        struct stat info;
        if (stat(path.c_str(), &info) != 0) {
            throw Error("ModelNotFound", "No model at " + path + ": " + std::strerror(errno) + ".");
        }
        if (S_ISDIR(info.st_mode)) {
            throw Error("InvalidModel", path + " is a directory; give the .gguf file itself.");
        }
        if (!S_ISREG(info.st_mode)) {
            throw Error("InvalidModel", path + " is not a regular file; give a .gguf file.");
        }
        size_ = static_cast<uint64_t>(info.st_size);
        file_.reset(std::fopen(path.c_str(), "rb"));
        if (!file_) {
            throw Error("ModelNotFound", "Cannot open " + path + ": " + std::strerror(errno) + ".");
        }
    }

    uint64_t size() const { return size_; }
    uint64_t position() const { return position_; }

    [[noreturn]] void invalid(const std::string & what) const { throw Error("InvalidModel", path_ + " " + what); }

    void need(uint64_t bytes, const char * what) {
        if (bytes > size_ - position_) {
            invalid("ends inside " + std::string(what) + " (the file has " + std::to_string(size_) +
                    " bytes): it is cut short. Fetch it again.");
        }
    }

    template <typename T> T read(const char * what) {
        T value;
        read_bytes(&value, sizeof(value), what);
        return value;
    }

    void read_bytes(void * out, uint64_t bytes, const char * what) {
        need(bytes, what);
        if (std::fread(out, 1, bytes, file_.get()) != bytes) {
            invalid("cannot be read: " + std::string(std::strerror(errno)) + ".");
        }
        position_ += bytes;
    }

    void skip(uint64_t bytes, const char * what) {
        need(bytes, what);
        char scratch[512];
        if (bytes <= sizeof(scratch)) {  // a short read stays in stdio's buffer, a seek may drop it
            read_bytes(scratch, bytes, what);
            return;
        }
        if (fseeko(file_.get(), static_cast<off_t>(bytes), SEEK_CUR) != 0) {
            invalid("cannot be read: " + std::string(std::strerror(errno)) + ".");
        }
        position_ += bytes;
    }

    std::string read_string(uint64_t max_length, const char * what) {
        const auto length = read<uint64_t>(what);
        if (length > max_length) {
            invalid("has a " + std::string(what) + " of " + std::to_string(length) + " bytes (at most " +
                    std::to_string(max_length) + " are allowed): it is not a sound GGUF file.");
        }
        std::string text(length, '\0');
        read_bytes(text.data(), length, what);
        return text;
    }

  private:
    struct Close {
        void operator()(std::FILE * file) const { std::fclose(file); }
    };

    std::string                       path_;
    std::unique_ptr<std::FILE, Close> file_;
    uint64_t                          size_     = 0;
    uint64_t                          position_ = 0;
};

struct Header {
    uint64_t n_tensors;
    uint64_t n_keys;
};

Header read_header(Reader & in) {
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

constexpr uint64_t max_short = 512;  // elements of a list, bytes of a text: what describes a shape has no more

void read_numbers(Reader & in, uint32_t type, uint64_t count, const std::string & key, GgufFacts & facts) {
    for (uint64_t i = 0; i < count; i++) {
        char bytes[8] = {};
        in.read_bytes(bytes, size_of(type), "a value");
        const int64_t value = whole_number(type, bytes);
        const auto    place = facts.numbers.emplace(key, value).first;
        place->second       = std::max(place->second, value);
    }
}

void read_value(Reader & in, uint32_t type, const std::string & key, GgufFacts & facts) {
    const auto is_whole = [](uint32_t t) { return size_of(t) != 0 && t != F32 && t != F64; };
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
        const auto element = in.read<uint32_t>("an array");
        const auto count   = in.read<uint64_t>("an array");
        if (element == STRING) {
            for (uint64_t i = 0; i < count; i++) {
                in.skip(in.read<uint64_t>("a text"), "a text");
            }
        } else if (size_of(element) == 0) {
            in.invalid("has an array of unknown type " + std::to_string(element) + " in key '" + key + "'.");
        } else {
            if (count > in.size()) {  // before multiplying
                in.need(UINT64_MAX, "an array");
            }
            if (is_whole(element) && count <= max_short) {
                in.need(count * size_of(element), "an array");
                read_numbers(in, element, count, key, facts);
            } else {
                in.skip(count * size_of(element), "an array");
            }
        }
    } else if (size_of(type) == 0) {
        in.invalid("has a value of unknown type " + std::to_string(type) + " in key '" + key + "'.");
    } else if (is_whole(type)) {
        read_numbers(in, type, 1, key, facts);
    } else {
        in.skip(size_of(type), "a value");
    }
}

// Returns the alignment of tensor data.
uint32_t read_metadata(Reader & in, uint64_t n_keys, bool model, GgufFacts & facts) {
    uint32_t                        alignment = default_alignment;
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
        has_architecture = has_architecture || (key == "general.architecture" && type == STRING);
        read_value(in, type, key, facts);
    }
    if (model && !has_architecture) {
        in.invalid("does not name its architecture ('general.architecture'): it is not a model.");
    }
    return alignment;
}

// Bytes of a tensor's data; throws if its shape or type is impossible.
uint64_t tensor_bytes(Reader & in, const std::string & name, uint32_t type, const int64_t * shape) {
    if (type >= GGML_TYPE_COUNT || ggml_blck_size(static_cast<ggml_type>(type)) == 0) {
        in.invalid("has the tensor '" + name + "' of unknown type " + std::to_string(type) +
                   ": a newer llama.cpp may read it.");
    }
    const auto    ggml  = static_cast<ggml_type>(type);
    const int64_t block = ggml_blck_size(ggml);
    if (shape[0] % block != 0) {
        in.invalid("has the tensor '" + name + "' with rows of " + std::to_string(shape[0]) + " values, not a multiple of " +
                   std::to_string(block) + " as " + ggml_type_name(ggml) + " needs.");
    }
    uint64_t bytes = static_cast<uint64_t>(shape[0] / block) * ggml_type_size(ggml);
    for (int i = 1; i < GGML_MAX_DIMS; i++) {
        if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(shape[i]), &bytes)) {
            in.invalid("has the tensor '" + name + "' with an impossible size.");
        }
    }
    return bytes;
}

}  // namespace

GgufFacts check_gguf(const std::string & path, bool model) {
    Reader         in(path);
    const Header   header    = read_header(in);
    GgufFacts      facts;
    const uint32_t alignment = read_metadata(in, header.n_keys, model, facts);

    uint64_t                        data_end = 0;  // relative to the start of the data
    std::string                     last;
    std::unordered_set<std::string> seen;
    for (uint64_t i = 0; i < header.n_tensors; i++) {
        const std::string name   = in.read_string(max_name_length, "tensor name");
        const auto        n_dims = in.read<uint32_t>("a tensor");
        if (!seen.insert(name).second) {
            in.invalid("has the tensor '" + name + "' twice.");
        }
        if (n_dims > GGML_MAX_DIMS) {
            in.invalid("has the tensor '" + name + "' with " + std::to_string(n_dims) + " dimensions (at most 4).");
        }
        int64_t shape[GGML_MAX_DIMS] = { 1, 1, 1, 1 };
        for (uint32_t d = 0; d < n_dims; d++) {
            shape[d] = in.read<int64_t>("a tensor");
            if (shape[d] <= 0) {
                in.invalid("has the tensor '" + name + "' with a dimension of " + std::to_string(shape[d]) + ".");
            }
        }
        const auto     type   = in.read<uint32_t>("a tensor");
        const auto     offset = in.read<uint64_t>("a tensor");
        const uint64_t bytes  = tensor_bytes(in, name, type, shape);
        uint64_t       end    = 0;
        if (offset % alignment != 0 || __builtin_add_overflow(offset, bytes, &end)) {
            in.invalid("has the tensor '" + name + "' at the impossible offset " + std::to_string(offset) + ".");
        }
        if (end > data_end) {
            data_end = end;
            last     = name;
        }
    }
    const uint64_t data_start = (in.position() + alignment - 1) / alignment * alignment;
    if (header.n_tensors > 0 && (data_start > in.size() || data_end > in.size() - data_start)) {
        in.invalid("is cut short: tensor '" + last + "' ends at byte " + std::to_string(data_start + data_end) +
                   ", the file has " + std::to_string(in.size()) + ". Fetch it again.");
    }
    return facts;
}

}  // namespace smith
