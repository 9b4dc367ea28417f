#include "data/tokenizers/added_tokens.h"

#include <algorithm>

#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

// Where the last character of `text`, which is valid and not empty, begins.
std::size_t last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while ((static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return begin;
}

std::size_t num_spaces_behind(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && is_white_space(first_code_point(text.substr(count)))) count += utf8_length(text[count]);
  return count;
}

std::size_t without_spaces_at_end(std::string_view text) {
  while (!text.empty()) {
    const std::size_t begin = last_character(text);
    if (!is_white_space(first_code_point(text.substr(begin)))) break;
    text = text.substr(0, begin);
  }
  return text.size();
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), word_character_("\\w") {
  for (std::size_t i = 0; i < tokens_.size(); ++i) texts_.insert(tokens_[i].text, static_cast<std::int32_t>(i));
  first_bytes_ = texts_.first_bytes();
}

void AddedTokens::split(std::string_view text, const VisitToken& visit_token, const VisitText& visit_text) const {
  std::size_t done = 0, at = 0;
  const auto visit_until = [&](std::size_t end) {
    if (done < end) visit_text(text.substr(done, end - done), done == 0);
  };
  while (at < text.size()) {
    at = first_bytes_.empty() ? text.npos : text.find_first_of(first_bytes_, at);
    if (at == text.npos) break;
    const std::int32_t found = texts_.longest_prefix(text.substr(at)).value;
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(found)];
    std::size_t begin = at, end = at + token.text.size();
    at = end;
    if (token.is_word && is_inside_word(text, begin, end)) continue;
    if (token.takes_spaces_before) begin = std::max(done, without_spaces_at_end(text.substr(0, begin)));
    if (token.takes_spaces_behind) end += num_spaces_behind(text.substr(end));
    visit_until(begin);
    visit_token(token.id);
    done = end;
  }
  visit_until(text.size());
}

bool AddedTokens::is_inside_word(std::string_view text, std::size_t begin, std::size_t end) const {
  const bool follows = begin > 0 && word_character_.matches_start(text.substr(last_character(text.substr(0, begin))));
  return follows || (end < text.size() && word_character_.matches_start(text.substr(end)));
}

}  // namespace mudelta
