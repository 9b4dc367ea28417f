#pragma once

#include <string>

#include "data/tokenizers/json_object.h"
#include "data/tokenizers/regex.h"

namespace mudelta {

// The pattern of a tokenizer.json: {"String": text} or {"Regex": expression}. An expression is Oniguruma's, in its
// Ruby syntax: what Regex reads otherwise is put in its terms or refused. Throws Error, naming the place.
Regex read_pattern(const Json& json, const std::string& where);

}  // namespace mudelta
