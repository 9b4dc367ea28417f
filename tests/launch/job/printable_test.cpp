#include "launch/job/printable.h"

#include <gtest/gtest.h>

namespace mudelta {
namespace {

TEST(Printable, ControlCharactersAreSpeltOut) {
  EXPECT_EQ(printable("a\tb\nc"), "a\tb\nc");
  EXPECT_EQ(printable("a\x1b[2J\r\x7f"), "a\\x1b[2J\\x0d\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m");
  EXPECT_EQ(printable("Größe \xc2"), "Größe \xc2");
  EXPECT_EQ(printable(std::string(1, '\0')), "\\x00");
  EXPECT_EQ(printable(""), "");
}

}  // namespace
}  // namespace mudelta
