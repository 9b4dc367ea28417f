#include "data/tokenizer.h"

#include "core/error.h"

namespace mudelta {
namespace {

class ByteTokenizer : public Tokenizer {
 public:
  std::string name() const override { return "byte"; }
  std::int32_t vocab_size() const override { return kSeparator + 1; }
  std::int32_t separator() const override { return kSeparator; }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> tokens;
    tokens.reserve(text.size());
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }

  std::string decode(const std::vector<std::int32_t>& tokens) const override {
    std::string text;
    text.reserve(tokens.size());
    for (const std::int32_t token : tokens) {
      if (num_bytes(token) > 0) text.push_back(static_cast<char>(token));
    }
    return text;
  }

  std::int64_t num_bytes(std::int32_t token) const override {
    require(0 <= token && token < vocab_size(), "token id {} is outside the byte tokenizer's vocabulary [0, {})", token,
            vocab_size());
    return token == kSeparator ? 0 : 1;
  }

 private:
  static constexpr std::int32_t kSeparator = 256;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name) {
  if (name == "byte") return std::make_unique<ByteTokenizer>();
  fail("unknown tokenizer \"{}\", known ones: byte", name);
}

}  // namespace mudelta
