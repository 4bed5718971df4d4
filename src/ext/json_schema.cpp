#include "json_schema.hpp"

#include <stdexcept>

#include "errors.hpp"
#include "json-schema-to-grammar.h"

namespace smith {

std::string grammar_of_schema(const std::string & schema) {
    try {
        return json_schema_to_grammar(common_json::parse(schema), true);
    } catch (const std::exception & error) {
        throw Error("InvalidOption", std::string("This JSON schema cannot be made a grammar: ") + error.what());
    }
}

}  // namespace smith
