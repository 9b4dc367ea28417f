#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/tokenizers/json_object.h"

namespace mudelta {

// Changes a text, which is valid UTF-8, before it is cut into pieces.
using Normalizer = std::function<void(std::string& text)>;

// The normalizers that a tokenizer.json has, one after another; none of null. Throws Error, naming the place, on one
// that is unknown or has a field that is.
std::vector<Normalizer> read_normalizers(const Json& json, const std::string& where);

}  // namespace mudelta
