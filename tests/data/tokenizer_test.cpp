#include "data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

TEST(ByteTokenizer, EveryByteComesBack) {
  const auto tokenizer = make_tokenizer("byte");
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const auto tokens = tokenizer->encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(tokens[byte], byte);
  EXPECT_EQ(tokenizer->decode(tokens), text);
}

RC_GTEST_PROP(ByteTokenizer, DecodeInvertsEncode, (const std::string& text)) {
  const auto tokenizer = make_tokenizer("byte");
  RC_ASSERT(tokenizer->decode(tokenizer->encode(text)) == text);
}

TEST(ByteTokenizer, SeparatorIsATokenWithoutText) {
  const auto tokenizer = make_tokenizer("byte");
  EXPECT_EQ(tokenizer->name(), "byte");
  EXPECT_EQ(tokenizer->vocab_size(), 257);
  EXPECT_EQ(tokenizer->separator(), 256);
  EXPECT_EQ(tokenizer->num_bytes(256), 0);
  EXPECT_EQ(tokenizer->num_bytes(0), 1);
  EXPECT_EQ(tokenizer->num_bytes(255), 1);
  EXPECT_EQ(tokenizer->decode({256, 'a', 256, 'b'}), "ab");
}

TEST(ByteTokenizer, RefusesForeignIds) {
  const auto tokenizer = make_tokenizer("byte");
  EXPECT_THAT(error_of([&] { tokenizer->decode({'a', 257}); }), HasSubstr("257"));
  EXPECT_THAT(error_of([&] { tokenizer->num_bytes(-1); }), HasSubstr("-1"));
}

TEST(MakeTokenizer, NamesTheKnownOnes) {
  EXPECT_THAT(error_of([] { make_tokenizer("bite"); }), AllOf(HasSubstr("\"bite\""), HasSubstr("byte")));
}

}  // namespace
}  // namespace mudelta
