#include "data/tokenizers/sentencepiece_normalizer.h"

#include <cstring>

#include "core/error.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

// A unit of the double array (Darts-clone): the byte that leads to it, where its children are, whether one is a leaf.
struct Unit {
  std::uint32_t bits;

  bool has_leaf() const { return (bits >> 8 & 1) != 0; }
  std::uint32_t value() const { return bits & 0x7fffffff; }  // of a leaf
  bool follows(unsigned char byte) const { return (bits & (1u << 31 | 0xff)) == byte; }
  std::uint32_t offset() const { return bits >> 10 << ((bits & 1u << 9) >> 6); }
};

}  // namespace

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceFile::Normalizer& options, const PrefixTree& fixed)
    : options_(options), fixed_(fixed) {
  const std::string& table = options.precompiled_charsmap();
  if (table.empty()) return;
  std::uint32_t num_bytes = 0;
  const bool has_size = table.size() > sizeof(num_bytes);
  if (has_size) std::memcpy(&num_bytes, table.data(), sizeof(num_bytes));
  require(has_size && num_bytes % sizeof(std::uint32_t) == 0 && num_bytes > 0 &&
              num_bytes < table.size() - sizeof(num_bytes) && table.back() == '\0',
          "normalizer_spec.precompiled_charsmap is damaged");
  units_.resize(num_bytes / sizeof(std::uint32_t));
  std::memcpy(units_.data(), table.data() + sizeof(num_bytes), num_bytes);
  replacements_ = table.substr(sizeof(num_bytes) + num_bytes);
}

std::string SentencePieceNormalizer::operator()(std::string_view text) const {
  const bool joins = options_.remove_extra_whitespaces();
  const std::string_view space = options_.escape_whitespaces() ? kSpaceSign : " ";
  std::string normalized;
  while (joins && !text.empty()) {
    const Replaced next = replace_prefix(text);
    if (next.by != " ") break;
    text.remove_prefix(next.num_bytes);
  }
  if (text.empty()) return normalized;
  if (options_.add_dummy_prefix()) normalized += space;
  bool follows_space = joins;
  while (!text.empty()) {
    auto [num_bytes, by] = replace_prefix(text);
    while (follows_space && by.starts_with(' ')) by.remove_prefix(1);
    for (const char c : by) c == ' ' ? normalized += space : normalized += c;
    if (!by.empty()) follows_space = joins && by.ends_with(' ');
    text.remove_prefix(num_bytes);
  }
  while (joins && normalized.ends_with(space)) normalized.erase(normalized.size() - space.size());
  return normalized;
}

SentencePieceNormalizer::Replaced SentencePieceNormalizer::replace_prefix(std::string_view text) const {
  if (const auto fixed = fixed_.longest_prefix(text); fixed.length > 0)
    return {fixed.length, text.substr(0, fixed.length)};
  if (const Replaced found = find_in_table(text); found.num_bytes > 0) return found;
  if (valid_utf8_prefix(text.substr(0, 4)) == 0) return {1, kReplacementCharacter};
  return {utf8_length(text[0]), text.substr(0, utf8_length(text[0]))};
}

SentencePieceNormalizer::Replaced SentencePieceNormalizer::find_in_table(std::string_view text) const {
  Replaced longest{0, ""};
  if (units_.empty()) return longest;
  std::size_t at = Unit{units_[0]}.offset();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (at >= units_.size() || !Unit{units_[at]}.follows(byte)) break;
    const Unit unit{units_[at]};
    at ^= unit.offset();
    if (!unit.has_leaf()) continue;
    const std::size_t place = at < units_.size() ? Unit{units_[at]}.value() : replacements_.size();
    require(place < replacements_.size(), "normalizer_spec.precompiled_charsmap is damaged");
    longest = {i + 1, replacements_.data() + place};
  }
  return longest;
}

}  // namespace mudelta
