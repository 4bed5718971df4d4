// Errors cross from native code to Python as one type that can be thrown without the GIL.
#pragma once

#include <stdexcept>
#include <string>

namespace smith {

// `name` is a class of llamasmith.errors.
class Error : public std::runtime_error {
  public:
    Error(const char * name, const std::string & message) : std::runtime_error(message), name_(name) {}

    const char * name() const { return name_; }

  private:
    const char * name_;
};

// The native work was stopped on request (cancel or a signal), not by a fault.
class Interrupted : public std::exception {
  public:
    const char * what() const noexcept override { return "interrupted"; }
};

// What llama_decode() returned, as an exception; 0 returns. `rolled_back` tells whether the memory is as before.
void raise_for_decode(int status, int n_tokens, bool rolled_back);

// Makes pybind11 raise the class of llamasmith.errors that an Error names.
void register_errors();

}  // namespace smith
