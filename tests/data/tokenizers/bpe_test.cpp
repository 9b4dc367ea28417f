#include "data/tokenizers/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/rng.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Model {
  TokenIds tokens;
  std::vector<std::pair<std::string, std::string>> merges;  // by rank

  std::int32_t id(const std::string& text) {
    return tokens.emplace(text, static_cast<std::int32_t>(tokens.size())).first->second;
  }
  void merge(const std::string& left, const std::string& right) {
    id(left), id(right), id(left + right);
    merges.emplace_back(left, right);
  }
  Bpe make(const Bpe::Options& options = {}) {
    PairTable table(merges.size());
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const auto& [left, right] = merges[i];
      table.set(id(left), id(right), {static_cast<std::int32_t>(i), id(left + right)});
    }
    return Bpe(tokens, std::move(table), options);
  }
  // The definition: the first pair of the lowest rank is merged, again and again.
  std::vector<std::int32_t> encode(const std::string& piece) {
    std::vector<std::string> symbols;
    for (const char c : piece) symbols.emplace_back(1, c);
    while (true) {
      std::size_t best = merges.size(), at = 0;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        for (std::size_t rank = 0; rank < best; ++rank) {
          if (merges[rank] == std::pair(symbols[i], symbols[i + 1])) best = rank, at = i;
        }
      }
      if (best == merges.size()) break;
      symbols[at] += symbols[at + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    std::vector<std::int32_t> ids;
    for (const std::string& symbol : symbols) ids.push_back(id(symbol));
    return ids;
  }
};

std::vector<std::int32_t> encode(const Bpe& bpe, std::string_view piece) {
  std::vector<std::int32_t> tokens;
  bpe.encode(piece, tokens);
  return tokens;
}

// Pieces of all lengths, on both sides of where the algorithm changes, of merges that overlap in many ways.
TEST(Bpe, MergesAsTheDefinitionSays) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const CounterRng rng(seed, "bpe");
    std::uint64_t draws = 0;
    const auto draw = [&](std::size_t below) { return rng.bits(draws++) % below; };
    Model model;
    std::vector<std::string> tokens{"a", "b", "c"};
    std::set<std::pair<std::string, std::string>> seen;
    for (const std::string& token : tokens) model.id(token);
    while (model.merges.size() < 30) {
      const std::string left = tokens[draw(tokens.size())], right = tokens[draw(tokens.size())];
      if (left.size() + right.size() > 12 || !seen.emplace(left, right).second) continue;
      model.merge(left, right);
      tokens.push_back(left + right);
    }
    const Bpe bpe = model.make();
    for (int i = 0; i < 60; ++i) {
      std::string piece;
      for (std::size_t n = draw(i % 2 == 0 ? 30 : 300); n > 0; --n) piece += "abc"[draw(i % 3 == 0 ? 2 : 3)];
      EXPECT_EQ(encode(bpe, piece), model.encode(piece)) << "seed " << seed << ", " << piece;
      EXPECT_EQ(encode(bpe, piece), model.encode(piece)) << "again: seed " << seed << ", " << piece;
    }
  }
}

TEST(Bpe, AWholePieceIsTakenAsItIsOnlyIfAskedFor) {
  Model model;
  for (const char* token : {"a", "b", "c", "abc"}) model.id(token);
  model.merge("b", "c");
  EXPECT_THAT(encode(model.make(), "abc"), ElementsAre(0, 4));
  EXPECT_THAT(encode(model.make({.whole_pieces = true}), "abc"), ElementsAre(3));
}

TEST(Bpe, CharactersWithoutATokenBecomeBytesOrUnknown) {
  Model model;
  const std::int32_t a = model.id("a"), unknown = model.id("<unk>"), first = model.id("<0xC3>");
  const auto characters = Bpe::Units::kCharacters;
  EXPECT_THAT(encode(model.make({.units = characters}), "a\u00e9"), ElementsAre(a));
  const Bpe::Options separate = {.units = characters, .unknown = unknown};
  EXPECT_THAT(encode(model.make(separate), "\u00e9\u00e9a\u00e9"), ElementsAre(unknown, unknown, a, unknown));
  const Bpe::Options fused = {.units = characters, .unknown = unknown, .fuse_unknown = true};
  EXPECT_THAT(encode(model.make(fused), "\u00e9\u00e9a\u00e9"), ElementsAre(unknown, a, unknown));
  const Bpe::Options fallback = {.units = characters, .byte_fallback = true, .unknown = unknown};
  EXPECT_THAT(encode(model.make(fallback), "\u00e9"), ElementsAre(unknown)) << "<0xA9> is missing";
  const std::int32_t second = model.id("<0xA9>");
  EXPECT_THAT(encode(model.make(fallback), "\u00e9a"), ElementsAre(first, second, a));
}

TEST(Bpe, NoTokensOfAnEmptyPiece) {
  Model model;
  model.id("a");
  EXPECT_THAT(encode(model.make(), ""), IsEmpty());
}

// More pieces than the cache holds, and of lengths that it does not: what it keeps of one is never another's.
TEST(Bpe, PiecesThatShareAPlaceInTheCacheKeepTheirTokens) {
  Model model;
  for (char c = '0'; c <= '9'; ++c) model.id(std::string(1, c));
  const Bpe bpe = model.make();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 300'000; i += 7) {
      const std::string piece = std::to_string(i) + std::string(static_cast<std::size_t>(i % 40), '7');
      std::vector<std::int32_t> expected;
      for (const char c : piece) expected.push_back(c - '0');
      ASSERT_EQ(encode(bpe, piece), expected);
    }
  }
}

}  // namespace
}  // namespace mudelta
