// Which bytes are UTF-8.
#pragma once

#include <string_view>

namespace smith {

// As RFC 3629 has it: shortest forms, no surrogates, at most U+10FFFF.
inline bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto  byte = [&](std::size_t k) { return static_cast<unsigned char>(text[i + k]); };
        const auto  lead = byte(0);
        std::size_t more = lead < 0x80 ? 0 : lead >= 0xc2 && lead < 0xe0 ? 1 : lead >= 0xe0 && lead < 0xf0 ? 2
                         : lead >= 0xf0 && lead < 0xf5 ? 3 : text.size();
        if (more >= text.size() - i) {
            return false;
        }
        for (std::size_t k = 1; k <= more; k++) {
            if ((byte(k) & 0xc0) != 0x80) {
                return false;
            }
        }
        if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f) || (lead == 0xf0 && byte(1) < 0x90) ||
            (lead == 0xf4 && byte(1) > 0x8f)) {
            return false;
        }
        i += more + 1;
    }
    return true;
}

}  // namespace smith
