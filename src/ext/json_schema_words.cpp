// What upstream's converter of JSON schemas calls of its common.cpp, without the rest, which is the whole of its tools.
#include "common.h"

std::string string_repeat(const std::string & str, size_t n) {
    std::string all;
    all.reserve(str.size() * n);
    for (size_t i = 0; i < n; i++) {
        all += str;
    }
    return all;
}

std::string string_join(const std::vector<std::string> & values, const std::string & separator) {
    std::string all;
    for (const std::string & value : values) {
        all += (&value == values.data() ? "" : separator) + value;
    }
    return all;
}

std::vector<std::string> string_split(const std::string & str, const std::string & delimiter) {
    std::vector<std::string> parts;
    size_t                   from = 0;
    for (size_t at = str.find(delimiter); at != std::string::npos; at = str.find(delimiter, from)) {
        parts.push_back(str.substr(from, at - from));
        from = at + delimiter.size();
    }
    parts.push_back(str.substr(from));
    return parts;
}
