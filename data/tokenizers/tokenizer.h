#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mudelta {

// Text to token ids and back. A separator token starts every document. For one thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::int32_t vocab_size() const = 0;  // the largest id + 1, the separator's and unused ones included
  virtual std::int32_t separator() const = 0;
  // Whether the tokens of a text are those of its parts, wherever it is cut.
  virtual bool cuts_anywhere() const { return false; }
  // Appends the tokens of `text` to `tokens`. The text is whole (a document) unless cuts_anywhere().
  virtual void encode(std::string_view text, std::vector<std::int32_t>& tokens) const = 0;
  std::vector<std::int32_t> encode(std::string_view text) const;
  // What a token adds to a text, but for the spaces that decode() takes from a text's ends. It may be a part of a UTF-8
  // character. Empty for the separator, for other special tokens and for ids that no token has.
  // Throws Error on an id outside [0, vocab_size).
  virtual std::string_view text_of(std::int32_t token) const = 0;
  // How the vocabulary writes a token; empty for an id that no token has. Throws Error as text_of.
  virtual std::string spelling_of(std::int32_t token) const = 0;
  // The text of tokens. Throws Error as text_of.
  virtual std::string decode(std::span<const std::int32_t> tokens) const;
  // Bytes of text that a token stands for (0 for the separator): bits per byte divide by their sum.
  virtual std::int64_t num_bytes(std::int32_t token) const { return std::ssize(text_of(token)); }

 protected:
  void check_id(std::int32_t token) const;
};

}  // namespace mudelta
