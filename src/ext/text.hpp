// From token pieces to text that may be shown: never half a character, never the beginning of a stop string.
#pragma once

#include <string>
#include <vector>

namespace smith {

class TextStream {
  public:
    explicit TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {}

    // Appends the bytes of one token. Once a stop string is complete, it and what follows are dropped.
    void push(const std::string & piece);

    // Whether a stop string was found.
    bool stopped() const { return stopped_; }

    // Bytes that have become certain since the last call: whole UTF-8 characters that cannot belong to a stop string.
    // With `last`, everything that is left.
    std::string take(bool last);

  private:
    std::vector<std::string> stop_;
    std::string              held_;  // not yet handed out
    bool                     stopped_ = false;
};

}  // namespace smith
