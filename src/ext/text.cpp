#include "text.hpp"

#include <algorithm>

namespace smith {

namespace {

// Length of the UTF-8 character that this byte begins; 1 for bytes that begin none, so that they are not held back.
std::size_t character_length(unsigned char lead) {
    if (lead >= 0xf0 && lead < 0xf8) return 4;
    if (lead >= 0xe0 && lead < 0xf0) return 3;
    if (lead >= 0xc0 && lead < 0xe0) return 2;
    return 1;
}

// Where an unfinished character begins at the end of the text, or its size.
std::size_t whole_characters(const std::string & text) {
    for (std::size_t back = 1; back <= 3 && back <= text.size(); back++) {
        const auto byte = static_cast<unsigned char>(text[text.size() - back]);
        if ((byte & 0xc0) == 0x80) {
            continue;  // a continuation byte: look further back for its lead
        }
        return character_length(byte) > back ? text.size() - back : text.size();
    }
    return text.size();
}

// Length of the longest end of `text` that begins `stop`.
std::size_t overlap(const std::string & text, const std::string & stop) {
    for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; n--) {
        if (text.compare(text.size() - n, n, stop, 0, n) == 0) {
            return n;
        }
    }
    return 0;
}

}  // namespace

void TextStream::push(const std::string & piece) {
    if (stopped_) {
        return;
    }
    held_ += piece;
    std::size_t first = std::string::npos;
    for (const std::string & stop : stop_) {
        first = std::min(first, held_.find(stop));
    }
    if (first != std::string::npos) {
        held_.resize(first);
        stopped_ = true;
    }
}

std::string TextStream::take(bool last) {
    std::size_t ready = held_.size();
    if (!last && !stopped_) {
        ready = whole_characters(held_);
        for (const std::string & stop : stop_) {
            ready = std::min(ready, held_.size() - overlap(held_, stop));
        }
    }
    std::string out = held_.substr(0, ready);
    held_.erase(0, ready);
    return out;
}

}  // namespace smith
