#include "gguf_reader.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "errors.hpp"

namespace smith {

uint64_t size_of(uint32_t type) {
    switch (type) {
        case U8: case I8: case BOOL:   return 1;
        case U16: case I16:            return 2;
        case U32: case I32: case F32:  return 4;
        case U64: case I64: case F64:  return 8;
        default:                       return 0;
    }
}

GgufReader::GgufReader(const std::string & path) : path_(path) {
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

void GgufReader::invalid(const std::string & what) const {
    throw Error("InvalidModel", path_ + " " + what);
}

void GgufReader::need(uint64_t bytes, const char * what) const {
    if (bytes > size_ - position_) {
        invalid("ends inside " + std::string(what) + " (the file has " + std::to_string(size_) +
                " bytes): it is cut short. Fetch it again.");
    }
}

void GgufReader::read_bytes(void * out, uint64_t bytes, const char * what) {
    need(bytes, what);
    if (std::fread(out, 1, bytes, file_.get()) != bytes) {
        invalid("cannot be read: " + std::string(std::strerror(errno)) + ".");
    }
    position_ += bytes;
}

void GgufReader::skip(uint64_t bytes, const char * what) {
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

std::string GgufReader::read_string(uint64_t max_length, const char * what) {
    const auto length = read<uint64_t>(what);
    if (length > max_length) {
        invalid("has a " + std::string(what) + " of " + std::to_string(length) + " bytes (at most " +
                std::to_string(max_length) + " are allowed): it is not a sound GGUF file.");
    }
    need(length, what);
    std::string text(length, '\0');
    read_bytes(text.data(), length, what);
    return text;
}

}  // namespace smith
