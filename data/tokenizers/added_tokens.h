#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizers/prefix_tree.h"
#include "data/tokenizers/regex.h"

namespace mudelta {

// A token that is found in a text before anything else is done to it.
struct AddedToken {
  std::int32_t id = 0;
  std::string text;
  bool is_special = false;           // not shown when tokens are decoded
  bool is_normalized = false;        // found in normalized text
  bool is_word = false;              // not inside a word
  bool takes_spaces_before = false;  // white space before it belongs to it
  bool takes_spaces_behind = false;
};

// Finds added tokens: the leftmost first, of those that begin together the longest. For one thread.
class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  using VisitToken = std::function<void(std::int32_t id)>;
  using VisitText = std::function<void(std::string_view text, bool starts_text)>;
  // Calls visit_token for the tokens in `text` and visit_text for what stands between them, which is not empty.
  void split(std::string_view text, const VisitToken& visit_token, const VisitText& visit_text) const;

 private:
  bool is_inside_word(std::string_view text, std::size_t begin, std::size_t end) const;

  std::vector<AddedToken> tokens_;
  PrefixTree texts_;         // the values are indices of tokens_
  std::string first_bytes_;  // of all tokens
  Regex word_character_;
};

}  // namespace mudelta
