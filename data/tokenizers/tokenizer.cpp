#include "data/tokenizers/tokenizer.h"

#include "core/error.h"

namespace mudelta {

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens;
  encode(text, tokens);
  return tokens;
}

std::string Tokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) text += text_of(token);
  return text;
}

void Tokenizer::check_id(std::int32_t token) const {
  require(0 <= token && token < vocab_size(), "token id {} is outside the tokenizer's vocabulary [0, {})", token,
          vocab_size());
}

}  // namespace mudelta
