#include "data/tokenizers/byte_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

TEST(ByteTokenizer, EveryByteComesBack) {
  const ByteTokenizer tokenizer;
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const auto tokens = tokenizer.encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(tokens[static_cast<std::size_t>(byte)], byte);
  EXPECT_EQ(tokenizer.decode(tokens), text);
}

RC_GTEST_PROP(ByteTokenizer, DecodeInvertsEncode, (const std::string& text)) {
  const ByteTokenizer tokenizer;
  RC_ASSERT(tokenizer.decode(tokenizer.encode(text)) == text);
}

TEST(ByteTokenizer, SeparatorIsATokenWithoutText) {
  const ByteTokenizer tokenizer;
  EXPECT_EQ(tokenizer.vocab_size(), 257);
  EXPECT_EQ(tokenizer.separator(), 256);
  EXPECT_EQ(tokenizer.num_bytes(256), 0);
  EXPECT_EQ(tokenizer.num_bytes(0), 1);
  EXPECT_EQ(tokenizer.num_bytes(255), 1);
  EXPECT_EQ(tokenizer.decode(std::vector{256, int{'a'}, 256, int{'b'}}), "ab");
  EXPECT_EQ(tokenizer.spelling_of('A'), "<0x41>");
}

TEST(ByteTokenizer, RefusesForeignIds) {
  const ByteTokenizer tokenizer;
  EXPECT_THAT(error_of([&] { tokenizer.decode(std::vector{int{'a'}, 257}); }), HasSubstr("257"));
  EXPECT_THAT(error_of([&] { tokenizer.num_bytes(-1); }), HasSubstr("-1"));
}

}  // namespace
}  // namespace mudelta
