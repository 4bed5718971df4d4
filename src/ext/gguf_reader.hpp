// Reads a GGUF file from its beginning, and never past its end.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace smith {

enum GgufType : uint32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

// Bytes of a value of fixed size; 0 for the others and for unknown types.
uint64_t size_of(uint32_t type);

class GgufReader {
  public:
    // Throws ModelNotFound, or InvalidModel for what is no file.
    explicit GgufReader(const std::string & path);

    uint64_t            size() const { return size_; }
    uint64_t            position() const { return position_; }
    const std::string & path() const { return path_; }

    [[noreturn]] void invalid(const std::string & what) const;

    // Throws InvalidModel unless so many bytes are left.
    void need(uint64_t bytes, const char * what) const;

    template <typename T> T read(const char * what) {
        T value;
        read_bytes(&value, sizeof(value), what);
        return value;
    }

    void        read_bytes(void * out, uint64_t bytes, const char * what);
    void        skip(uint64_t bytes, const char * what);
    std::string read_string(uint64_t max_length, const char * what);

  private:
    struct Close {
        void operator()(std::FILE * file) const { std::fclose(file); }
    };

    std::string                       path_;
    std::unique_ptr<std::FILE, Close> file_;
    uint64_t                          size_     = 0;
    uint64_t                          position_ = 0;
};

}  // namespace smith
