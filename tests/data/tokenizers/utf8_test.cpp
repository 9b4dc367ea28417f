#include "data/tokenizers/utf8.h"

#include <gtest/gtest.h>

namespace mudelta {
namespace {

TEST(Utf8, EveryCodePointIsValidAndComesBack) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const auto number = static_cast<std::uint32_t>(c);
    std::string text;
    append_utf8(c, text);
    ASSERT_EQ(valid_utf8_prefix(text), text.size()) << number;
    ASSERT_EQ(utf8_length(text[0]), text.size()) << number;
    ASSERT_EQ(static_cast<std::uint32_t>(first_code_point(text)), number);
    ASSERT_EQ(whole_characters(text), text.size()) << number;
    for (std::size_t length = 1; length < text.size(); ++length) {
      const std::string part = "ab" + text.substr(0, length);
      ASSERT_EQ(valid_utf8_prefix(part), 2u) << number;
      ASSERT_EQ(whole_characters(part), 2u) << number;
    }
  }
}

TEST(Utf8, WhatIsNotWellFormedIsNotValid) {
  for (const char* text : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                           "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3(", "\xe2\x82("}) {
    EXPECT_EQ(valid_utf8_prefix(text), 0u) << text;
    const std::string behind = std::string("0123456789") + text;
    EXPECT_EQ(valid_utf8_prefix(behind), 10u) << text;
  }
}

TEST(Utf8, BytesThatCannotBecomeACharacterAreNotWaitedFor) {
  for (const std::string text : {"a\xff", "a\x80", "a\xc0", "a\xed\xa0", "\x80\x80\x80\x80", "", "a"}) {
    EXPECT_EQ(whole_characters(text), text.size()) << text;
  }
}

}  // namespace
}  // namespace mudelta
