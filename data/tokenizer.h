#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mudelta {

// Text to token ids and back. A separator token starts every document.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string name() const = 0;
  virtual std::int32_t vocab_size() const = 0;  // the separator included
  virtual std::int32_t separator() const = 0;
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  // Separators decode to nothing. Throws Error on an id outside [0, vocab_size).
  virtual std::string decode(const std::vector<std::int32_t>& tokens) const = 0;
  // Bytes of text that a token stands for (0 for the separator): bits per byte divide by their sum.
  virtual std::int64_t num_bytes(std::int32_t token) const = 0;
};

// "byte": ids 0..255 are bytes, 256 is the separator. Throws Error, naming the known ones, for another name.
std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name);

}  // namespace mudelta
