#include "data/tokenizers/byte_level.h"

#include <array>

#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

constexpr bool is_own_character(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr auto make_code_points() {
  std::array<char32_t, 256> code_points{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) code_points[byte] = is_own_character(byte) ? byte : next++;
  return code_points;
}

constexpr std::array<char32_t, 256> kCodePoints = make_code_points();

constexpr auto make_bytes() {
  std::array<int, 256 + 68> bytes{};
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) bytes[kCodePoints[static_cast<std::size_t>(byte)]] = byte;
  return bytes;
}

constexpr auto kBytes = make_bytes();  // by code point; -1: of none

}  // namespace

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string spell_bytes(std::string_view bytes) {
  std::string spelling;
  for (const char c : bytes) append_utf8(kCodePoints[static_cast<unsigned char>(c)], spelling);
  return spelling;
}

std::optional<std::string> spelt_bytes(std::string_view spelling) {
  std::string bytes;
  for (std::size_t i = 0; i < spelling.size(); i += utf8_length(spelling[i])) {
    const char32_t code_point = first_code_point(spelling.substr(i));
    if (code_point >= kBytes.size() || kBytes[code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(static_cast<unsigned char>(kBytes[code_point])));
  }
  return bytes;
}

}  // namespace mudelta
