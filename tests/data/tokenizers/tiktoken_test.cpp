#include "data/tokenizers/tiktoken.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tokenizers/stored_tokenizer.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

std::string base64(const std::string& bytes) {
  const char* const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t j) {
      return i + j < bytes.size() ? static_cast<unsigned>(static_cast<unsigned char>(bytes[i + j])) : 0u;
    };
    const unsigned bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    const std::size_t count = std::min<std::size_t>(bytes.size() - i, 3);
    for (std::size_t j = 0; j < 4; ++j) text += j <= count ? digits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

// All bytes, by their numbers, and `tokens` behind them.
std::string ranks(const std::vector<std::string>& tokens) {
  std::string file;
  int rank = 0;
  const auto add = [&](const std::string& token) { file += fmt::format("{} {}\n", base64(token), rank++); };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (const std::string& token : tokens) add(token);
  return file;
}

TEST(Tiktoken, PairsAreMergedByTheRankOfWhatTheyMake) {
  const auto tokenizer = make_gpt2_tokenizer(ranks({"bc", "ab", "abc", "\xff\xfe"}), "");
  EXPECT_THAT(tokenizer->encode("abcab"), ElementsAre(258, 257)) << "a|bc, as bc comes before ab; then abc";
  EXPECT_THAT(tokenizer->encode("ab\xff\xfe"), ElementsAre(257, 259));
  EXPECT_EQ(tokenizer->vocab_size(), 261);
  EXPECT_EQ(tokenizer->separator(), 260);
  EXPECT_EQ(tokenizer->spelling_of(260), "<|endoftext|>");
  EXPECT_EQ(tokenizer->text_of(260), "");
  EXPECT_EQ(tokenizer->encode("<|endoftext|>").size(), 13u) << "special tokens are not looked for";
  EXPECT_EQ(tokenizer->decode(std::vector{260, 258, 259}), "abc\xff\xfe");
}

// a|b cannot be merged, but the whole piece is a token.
TEST(Tiktoken, AWholePieceThatIsATokenIsTaken) {
  EXPECT_THAT(make_gpt2_tokenizer(ranks({"abcd"}), "")->encode("abcd"), ElementsAre(256));
}

TEST(Tiktoken, EncodingsCutInTheirOwnWays) {
  const std::string file = ranks({"12", "34", "1234", "aB", "s/", "/\n"});
  const auto gpt2 = make_gpt2_tokenizer(file, ""), cl100k = make_cl100k_base_tokenizer(file, ""),
             o200k = make_o200k_base_tokenizer(file, "");
  EXPECT_THAT(gpt2->encode("1234"), ElementsAre(258));
  EXPECT_THAT(cl100k->encode("1234"), ElementsAre(256, '3', '4')) << "three digits at most";
  EXPECT_THAT(cl100k->encode("aB"), ElementsAre(259));
  EXPECT_THAT(o200k->encode("aB"), ElementsAre('a', 'B')) << "a capital starts a word";
  EXPECT_THAT(gpt2->encode("/\n"), ElementsAre('/', '\n'));
  EXPECT_THAT(o200k->encode("/\n"), ElementsAre(261));
  EXPECT_EQ(cl100k->separator(), 262 + 1);
  EXPECT_EQ(cl100k->vocab_size(), 262 + 21);
  EXPECT_EQ(o200k->vocab_size(), 262 + 21);
  EXPECT_EQ(make_cl100k_base_tokenizer(file, "<|endofprompt|>")->separator(), 262 + 20);
}

TEST(Tiktoken, WhatIsNoRankFileIsRefused) {
  const auto error = [](const std::string& file) { return error_of([&] { make_gpt2_tokenizer(file, ""); }); };
  EXPECT_THAT(error("YQ== 0\nYg==\n"), HasSubstr("line 2"));
  EXPECT_THAT(error("YQ== 0\nYg 1\n"), HasSubstr("line 2"));
  EXPECT_THAT(error("YQ== 0\nYg== -1\n"), HasSubstr("line 2"));
  EXPECT_THAT(error("YQ== 0\nYQ== 1\n"), HasSubstr("repeats"));
  EXPECT_THAT(error("YQ== 0\n"), HasSubstr("no token of the byte 0"));
  EXPECT_THAT(error(ranks({}) + "YWI= 5\n"), HasSubstr("rank 5"));
  EXPECT_THAT(error_of([] { make_gpt2_tokenizer(ranks({}), "a"); }), HasSubstr("no token a"));
}

TEST(Tiktoken, TheNameOfAFileSaysItsEncoding) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "o200k_base.tiktoken", ranks({}));
  testing::write_file(folder / "r50k_base.tiktoken", ranks({}));
  testing::write_file(folder / "mine.tiktoken", ranks({}));
  const StoredTokenizer opened = open_tokenizer((folder / "o200k_base.tiktoken").string());
  EXPECT_EQ(opened.id.kind, "tiktoken-o200k_base");
  EXPECT_EQ(opened.id.separator, "<|endoftext|>");
  EXPECT_EQ(load_tokenizer(folder.path(), opened.id).tokenizer->separator(), 257);
  EXPECT_EQ(open_tokenizer((folder / "r50k_base.tiktoken").string()).id.kind, "tiktoken-gpt2");
  EXPECT_THAT(error_of([&] { open_tokenizer((folder / "mine.tiktoken").string()); }), HasSubstr("cl100k_base"));
}

}  // namespace
}  // namespace mudelta
