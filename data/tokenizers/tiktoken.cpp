#include "data/tokenizers/tiktoken.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/tokenizers/bpe.h"
#include "data/tokenizers/byte_level.h"
#include "data/tokenizers/regex.h"
#include "data/tokenizers/separator.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

constexpr std::int32_t kMaxRanks = 1 << 24;

constexpr const char* kCl100kPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr const char* kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct SpecialToken {
  std::string_view text;
  std::int32_t behind;  // its id - the number of ranks
};

// The bytes of a base64 text (RFC 4648), with its padding; nothing if it is none.
std::optional<std::string> from_base64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t num_digits = std::min(text.find('='), text.size());
  if (text.size() - num_digits > 2 || text.find_first_not_of('=', num_digits) != text.npos) return std::nullopt;
  std::string bytes;
  unsigned bits = 0;
  int num_bits = 0;
  for (const char digit : text.substr(0, num_digits)) {
    const std::size_t value = kDigits.find(digit);
    if (value == kDigits.npos) return std::nullopt;
    bits = bits << 6 | static_cast<unsigned>(value);
    num_bits += 6;
    if (num_bits >= 8) bytes.push_back(static_cast<char>(static_cast<unsigned char>(bits >> (num_bits -= 8) & 0xff)));
  }
  return bytes;
}

struct RankedToken {
  std::string bytes;
  std::int32_t rank;
};

std::optional<RankedToken> read_line(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == line.npos) return std::nullopt;
  auto bytes = from_base64(line.substr(0, space));
  std::int32_t rank = -1;
  const auto [end, error] = std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
  if (!bytes || error != std::errc() || end != line.data() + line.size() || rank < 0 || rank >= kMaxRanks) {
    return std::nullopt;
  }
  return RankedToken{std::move(*bytes), rank};
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

TokenIds read_ranks(std::string_view file) {
  TokenIds tokens;
  for (int number = 1; !file.empty(); ++number) {
    const std::string_view line = take_line(file);
    if (line.empty()) continue;
    auto token = read_line(line);
    require(token.has_value(), "its line {} is \"{}\", expected the base64 of a token, a space and its rank", number,
            line.substr(0, 80));
    require(tokens.emplace(std::move(token->bytes), token->rank).second, "its line {} repeats a token: {}", number,
            line.substr(0, 80));
  }
  for (int byte = 0; byte < 256; ++byte) {
    require(tokens.contains(std::string(1, static_cast<char>(byte))), "it has no token of the byte {}", byte);
  }
  return tokens;
}

// Every two tokens that are one together, by its rank.
PairTable pairs_of(const TokenIds& tokens) {
  struct Pair {
    std::int32_t left, right, whole;
  };
  std::vector<Pair> pairs;
  for (const auto& [bytes, id] : tokens) {
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = tokens.find(std::string_view(bytes).substr(0, cut));
      const auto right = tokens.find(std::string_view(bytes).substr(cut));
      if (left != tokens.end() && right != tokens.end()) pairs.push_back({left->second, right->second, id});
    }
  }
  PairTable table(pairs.size());
  for (const auto& [left, right, whole] : pairs) table.set(left, right, {whole, whole});
  return table;
}

class TiktokenTokenizer : public Tokenizer {
 public:
  TiktokenTokenizer(TokenIds tokens, const char* pattern, std::span<const SpecialToken> special,
                    std::string_view separator)
      : pattern_(pattern), bpe_(tokens, pairs_of(tokens), {.whole_pieces = true}) {
    std::int32_t num_ranks = 0;
    for (const auto& [bytes, id] : tokens) num_ranks = std::max(num_ranks, id + 1);
    texts_.resize(static_cast<std::size_t>(num_ranks + special.back().behind + 1));
    for (const auto& [bytes, id] : tokens) {
      std::string& text = texts_[static_cast<std::size_t>(id)];
      require(text.empty(), "two of its tokens have the rank {}", id);
      text = bytes;
    }
    for (const auto& [text, behind] : special) special_.emplace_back(text, num_ranks + behind);
    separator_ = find_separator(separator, [&](std::string_view name) -> std::optional<std::int32_t> {
      const auto found = std::ranges::find(special_, name, &Special::first);
      return found == special_.end() ? std::nullopt : std::optional(found->second);
    });
  }

  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(texts_.size()); }
  std::int32_t separator() const override { return separator_; }

  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override {
    split_by_validity(text, [&](std::string_view part, bool is_valid) {
      if (!is_valid) return bpe_.encode(part, tokens);
      pattern_.split(part, [&](std::string_view piece, bool /*is_match*/) { bpe_.encode(piece, tokens); });
    });
  }

  std::string_view text_of(std::int32_t token) const override {
    check_id(token);
    return texts_[static_cast<std::size_t>(token)];
  }

  std::string spelling_of(std::int32_t token) const override {
    const auto found = std::ranges::find(special_, token, &Special::second);
    return found != special_.end() ? std::string(found->first) : spell_bytes(text_of(token));
  }

 private:
  using Special = std::pair<std::string_view, std::int32_t>;

  Regex pattern_;
  Bpe bpe_;
  std::vector<std::string> texts_;  // by id
  std::vector<Special> special_;
  std::int32_t separator_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_gpt2_tokenizer(std::string_view ranks, std::string_view separator) {
  static constexpr SpecialToken kSpecial[] = {{"<|endoftext|>", 0}};
  return std::make_unique<TiktokenTokenizer>(read_ranks(ranks), kGpt2Pattern, kSpecial, separator);
}

std::unique_ptr<Tokenizer> make_cl100k_base_tokenizer(std::string_view ranks, std::string_view separator) {
  static constexpr SpecialToken kSpecial[] = {{"<|endoftext|>", 1},
                                              {"<|fim_prefix|>", 2},
                                              {"<|fim_middle|>", 3},
                                              {"<|fim_suffix|>", 4},
                                              {"<|endofprompt|>", 20}};
  return std::make_unique<TiktokenTokenizer>(read_ranks(ranks), kCl100kPattern, kSpecial, separator);
}

std::unique_ptr<Tokenizer> make_o200k_base_tokenizer(std::string_view ranks, std::string_view separator) {
  static constexpr SpecialToken kSpecial[] = {{"<|endoftext|>", 1}, {"<|endofprompt|>", 20}};
  return std::make_unique<TiktokenTokenizer>(read_ranks(ranks), kO200kPattern, kSpecial, separator);
}

bool is_rank_file(std::string_view content) { return read_line(take_line(content)).has_value(); }

}  // namespace mudelta
