#include "data/tokenizers/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <map>

#include "core/rng.h"
#include "data/tokenizers/tokenizer_json.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::write_file;

ByteMerges train(const PieceCounts& pieces, std::int32_t num_tokens) {
  return train_byte_merges(pieces, num_tokens, {});
}

// The definition: all pairs are counted anew before each merge.
ByteMerges train_by_definition(const PieceCounts& pieces, std::size_t num_tokens) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::vector<std::pair<std::vector<std::size_t>, std::int64_t>> words;
  for (const auto& [piece, count] : pieces) {
    words.push_back({{}, count});
    for (const char c : piece) words.back().first.push_back(static_cast<unsigned char>(c));
  }
  ByteMerges merges;
  while (tokens.size() < 256 + num_tokens) {
    std::map<std::pair<std::size_t, std::size_t>, std::int64_t> counts;
    for (const auto& [symbols, count] : words) {
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) counts[{symbols[i], symbols[i + 1]}] += count;
    }
    const auto best = std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
    const auto [left, right] = best->first;
    merges.emplace_back(tokens[left], tokens[right]);
    const std::string merged = tokens[left] + tokens[right];
    const auto id = static_cast<std::size_t>(std::ranges::find(tokens, merged) - tokens.begin());
    if (id == tokens.size()) tokens.push_back(merged);
    for (auto& [symbols, count] : words) {
      std::vector<std::size_t> after;
      for (std::size_t i = 0; i < symbols.size(); ++i) {
        const bool is_pair = i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right;
        after.push_back(is_pair ? id : symbols[i]);
        if (is_pair) ++i;
      }
      symbols = after;
    }
  }
  return merges;
}

TEST(BpeTrainer, MergesTheMostFrequentPairAgainAndAgain) {
  EXPECT_THAT(train({{"abab", 3}, {"abc", 2}, {"c", 100}}, 3),
              ElementsAre(Pair("a", "b"), Pair("ab", "ab"), Pair("ab", "c")));
  EXPECT_THAT(train({{"ba", 2}, {"cd", 2}, {"ab", 2}}, 2), ElementsAre(Pair("a", "b"), Pair("b", "a")))
      << "oldest first";
}

TEST(BpeTrainer, AgreesWithTheDefinition) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const CounterRng rng(seed, "trainer");
    std::uint64_t draws = 0;
    PieceCounts pieces;
    for (int i = 0; i < 60; ++i) {
      std::string piece;
      for (std::uint64_t n = 1 + rng.bits(draws++) % 12; n > 0; --n) piece += "abc"[rng.bits(draws++) % 3];
      pieces[piece] += 1 + static_cast<std::int64_t>(rng.bits(draws++) % 5);
    }
    EXPECT_EQ(train(pieces, 40), train_by_definition(pieces, 40)) << "seed " << seed;
  }
}

TEST(BpeTrainer, SaysHowManyTokensATextGives) {
  EXPECT_THAT(error_of([] { train({{"abc", 1}, {"ab", 1}}, 5); }), HasSubstr("gives 1 tokens"));
}

TEST(CountPieces, DoNotDependOnThreadsOrBlocks) {
  const testing::TemporaryFolder folder;
  std::string text;
  for (int i = 0; text.size() < 5'000'000; ++i)
    text += fmt::format("line {} it's\n\n  indented\u00a0{}\xff\n", i % 1000, i % 7);
  write_file(folder / "a.txt", text);
  write_file(folder / "b.txt", "line");
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const TextInputs inputs({.files = {folder / "a.txt", folder / "b.txt"}, .document_separator = ""});
  const PieceCounts alone = count_pieces(inputs, {});
  omp_set_num_threads(3);
  EXPECT_EQ(count_pieces(inputs, {}), alone);
  omp_set_num_threads(threads);
  std::int64_t lines = 0;
  for (std::size_t at = text.find("line"); at != text.npos; at = text.find("line", at + 1)) ++lines;
  EXPECT_EQ(alone.at("line"), lines + 1);
  EXPECT_EQ(alone.at("'s"), lines);
  EXPECT_EQ(alone.at("\n\n"), lines);
  EXPECT_EQ(alone.at(" indented"), lines);
}

TEST(BpeTrainer, WhatItWritesIsATokenizer) {
  const auto tokenizer =
      make_json_tokenizer(byte_level_tokenizer_json(train({{" the", 5}, {"ing", 4}, {"\xc3\xa9", 3}}, 6)), "");
  EXPECT_EQ(tokenizer->vocab_size(), 256 + 6 + 1);
  EXPECT_EQ(tokenizer->separator(), 262);
  const std::vector<std::int32_t> tokens = tokenizer->encode("o the ing\u00e9");
  EXPECT_EQ(tokens.size(), 1u + 1 + 1 + 1 + 1) << "o| the| |ing|e with accent";
  EXPECT_EQ(tokenizer->decode(tokens), "o the ing\u00e9");
}

}  // namespace
}  // namespace mudelta
