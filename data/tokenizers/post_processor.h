#pragma once

#include <string>

#include "data/tokenizers/json_object.h"

namespace mudelta {

// Throws Error, naming the place, unless the post_processor of a tokenizer.json is null or only adds tokens at the
// ends of a text (TemplateProcessing), which are not asked for here, or corrects places (ByteLevel), or is a Sequence
// of such.
void check_post_processor(const Json& json, const std::string& where);

}  // namespace mudelta
