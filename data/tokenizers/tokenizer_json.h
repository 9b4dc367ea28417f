#pragma once

#include <memory>
#include <string_view>

#include "data/tokenizers/tokenizer.h"

namespace mudelta {

// The tokenizer that a tokenizer.json (Hugging Face, byte-pair encoding) describes. Tokens are those of its encode
// without special tokens at the ends. `separator`: the token that starts documents; empty: the first of the usual ones
// that it has. Bytes that are no UTF-8 are pieces of their own for a byte-level tokenizer, and U+FFFD for others.
// Throws Error, naming the place in it, on what is wrong or not supported: nothing is ignored but post_processor, whose
// tokens at the ends of a text are not asked for.
std::unique_ptr<Tokenizer> make_json_tokenizer(std::string_view json, std::string_view separator);

}  // namespace mudelta
