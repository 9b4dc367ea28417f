#pragma once

#include <array>

#include "data/tokenizers/tokenizer.h"

namespace mudelta {

// Ids 0..255 are bytes, 256 is the separator.
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr std::int32_t kSeparator = 256;

  ByteTokenizer();

  std::int32_t vocab_size() const override { return kSeparator + 1; }
  std::int32_t separator() const override { return kSeparator; }
  bool cuts_anywhere() const override { return true; }
  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override;
  std::string_view text_of(std::int32_t token) const override;
  std::string spelling_of(std::int32_t token) const override;  // "<0x41>", "<separator>"

 private:
  std::array<char, 256> bytes_;
};

}  // namespace mudelta
