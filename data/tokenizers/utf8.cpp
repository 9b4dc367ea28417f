#include "data/tokenizers/utf8.h"

#include <algorithm>
#include <cstring>

namespace mudelta {
namespace {

enum class Sequence { kValid, kInvalid, kCutShort };

struct Character {
  Sequence sequence;
  std::size_t num_bytes;  // if valid
};

// The character of several bytes that `text`, which is not empty, starts with.
Character long_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0xc2 || first > 0xf4) return {Sequence::kInvalid, 0};
  const std::size_t num_bytes = utf8_length(text[0]);
  for (std::size_t i = 1; i < num_bytes; ++i) {
    if (i == text.size()) return {Sequence::kCutShort, 0};
    // No longer form than needed, no surrogates, nothing above U+10FFFF.
    const unsigned low = i > 1 ? 0x80 : first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = i > 1 ? 0xbf : first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (byte(i) < low || byte(i) > high) return {Sequence::kInvalid, 0};
  }
  return {Sequence::kValid, num_bytes};
}

}  // namespace

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    std::uint64_t eight;
    if (i + sizeof(eight) <= text.size()) {
      std::memcpy(&eight, text.data() + i, sizeof(eight));
      if ((eight & 0x8080808080808080) == 0) {
        i += sizeof(eight);
        continue;
      }
    }
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Character character = long_character(text.substr(i));
    if (character.sequence != Sequence::kValid) break;
    i += character.num_bytes;
  }
  return i;
}

void split_by_validity(std::string_view text, const std::function<void(std::string_view part, bool is_valid)>& visit) {
  constexpr std::size_t kLongestCharacter = 4;
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    if (valid > 0) visit(text.substr(0, valid), true);
    text.remove_prefix(valid);
    std::size_t invalid = 0;
    while (invalid < text.size() && valid_utf8_prefix(text.substr(invalid, kLongestCharacter)) == 0) ++invalid;
    if (invalid > 0) visit(text.substr(0, invalid), false);
    text.remove_prefix(invalid);
  }
}

char32_t first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
  switch (utf8_length(text[0])) {
    case 1: return byte(0);
    case 2: return (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
    case 3: return (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    default: return (byte(0) & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
  }
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto append = [&](char32_t byte) { text.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  const auto append_last = [&](int shift) { append(0x80 | (code_point >> shift & 0x3f)); };
  if (code_point < 0x80) {
    append(code_point);
  } else if (code_point < 0x800) {
    append(0xc0 | code_point >> 6);
    append_last(0);
  } else if (code_point < 0x10000) {
    append(0xe0 | code_point >> 12);
    append_last(6);
    append_last(0);
  } else {
    append(0xf0 | code_point >> 18);
    append_last(12);
    append_last(6);
    append_last(0);
  }
}

std::size_t whole_characters(std::string_view text) {
  constexpr std::size_t kMaxMissing = 3;
  for (std::size_t length = 1; length <= std::min(kMaxMissing, text.size()); ++length) {
    const std::string_view end = text.substr(text.size() - length);
    const auto first = static_cast<unsigned char>(end[0]);
    if (first < 0x80) break;
    if (first < 0xc0) continue;
    return long_character(end).sequence == Sequence::kCutShort ? text.size() - length : text.size();
  }
  return text.size();
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

}  // namespace mudelta
