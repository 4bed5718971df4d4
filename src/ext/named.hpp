// Options that are words: upstream's enumerations under upstream's names.
#pragma once

#include <cstdint>
#include <string>

#include "errors.hpp"

namespace smith {

template <typename Value> struct Named {
    const char * name;
    Value        value;
};

// The value that `word` names in the table. Throws InvalidOption with the words allowed.
template <typename Value, std::size_t n>
Value named(const char * option, const std::string & word, const Named<Value> (&table)[n]) {
    std::string allowed;
    for (const Named<Value> & entry : table) {
        if (word == entry.name) {
            return entry.value;
        }
        allowed += (allowed.empty() ? "" : ", ") + std::string(entry.name);
    }
    throw Error("InvalidOption", std::string(option) + " is '" + word + "'. Allowed: " + allowed + ".");
}

template <typename Value, std::size_t n> const char * name_of(Value value, const Named<Value> (&table)[n]) {
    for (const Named<Value> & entry : table) {
        if (value == entry.value) {
            return entry.name;
        }
    }
    return "unknown";
}

inline int64_t in_range(const char * name, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
        throw Error("InvalidOption", std::string(name) + " is " + std::to_string(value) + ". Allowed: " +
                                         std::to_string(low) + " to " + std::to_string(high) + ".");
    }
    return value;
}

// A finite number within bounds; NaN is in none.
inline float in_range(const char * name, float value, float low, float high, const char * hint = "") {
    if (!(value >= low && value <= high)) {
        throw Error("InvalidOption", std::string(name) + " is " + std::to_string(value) + ". Allowed: " +
                                         std::to_string(low) + " to " + std::to_string(high) + hint + ".");
    }
    return value;
}

}  // namespace smith
