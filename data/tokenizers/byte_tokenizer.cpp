#include "data/tokenizers/byte_tokenizer.h"

#include <fmt/format.h>

#include <numeric>

namespace mudelta {

ByteTokenizer::ByteTokenizer() { std::iota(bytes_.begin(), bytes_.end(), '\0'); }

void ByteTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) const {
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
}

std::string_view ByteTokenizer::text_of(std::int32_t token) const {
  check_id(token);
  return token == kSeparator ? "" : std::string_view(&bytes_[static_cast<std::size_t>(token)], 1);
}

std::string ByteTokenizer::spelling_of(std::int32_t token) const {
  check_id(token);
  return token == kSeparator ? "<separator>" : fmt::format("<0x{:02X}>", token);
}

}  // namespace mudelta
