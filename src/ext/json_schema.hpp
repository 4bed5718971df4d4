// JSON schemas as grammars (GBNF), by upstream's own converter, so that a schema means here what it means to llama-server.
#pragma once

#include <string>

namespace smith {

// The grammar of the JSON texts that a schema allows. Throws InvalidOption for what is no schema, or outside of what the
// converter can express. The caller bounds how deep the schema is nested.
std::string grammar_of_schema(const std::string & schema);

}  // namespace smith
