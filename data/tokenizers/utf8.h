#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace mudelta {

// What stands for bytes that are no UTF-8, where a tokenizer has no tokens for them.
inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

// Bytes at the start of `text` that are well-formed UTF-8 (Unicode, table 3-7).
std::size_t valid_utf8_prefix(std::string_view text);

// Calls visit(part, is_valid) for the parts of `text` that are well-formed UTF-8 and those that are not, in order.
void split_by_validity(std::string_view text, const std::function<void(std::string_view part, bool is_valid)>& visit);

// Bytes of the character that starts with `first`, in valid text.
inline std::size_t utf8_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// The character that valid text starts with.
char32_t first_code_point(std::string_view text);

void append_utf8(char32_t code_point, std::string& text);

// Where the last character of `text` begins if its bytes may yet become a character by others that follow; else the
// size of `text`.
std::size_t whole_characters(std::string_view text);

bool is_white_space(char32_t code_point);  // Unicode's White_Space

}  // namespace mudelta
