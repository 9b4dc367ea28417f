#include "data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> documents(std::string_view text, std::string_view separator) {
  std::vector<std::string> found;
  for_each_document(text, separator, [&](std::string_view document) { found.emplace_back(document); });
  return found;
}

TEST(Documents, SplitAtTheSeparator) {
  EXPECT_THAT(documents("one\n\ntwo\n\nthree", "\n\n"), ElementsAre("one", "two", "three"));
  EXPECT_THAT(documents("one\n\ntwo\n\n", "\n\n"), ElementsAre("one", "two"));
  EXPECT_THAT(documents("no separator", "\n\n"), ElementsAre("no separator"));
}

TEST(Documents, EmptyOnesAreSkipped) {
  EXPECT_THAT(documents("--a----b--", "--"), ElementsAre("a", "b"));
  EXPECT_THAT(documents("------", "--"), IsEmpty());
  EXPECT_THAT(documents("", "--"), IsEmpty());
}

TEST(Documents, TheLeftmostSeparatorWins) {
  EXPECT_THAT(documents("a\n\n\nb", "\n\n"), ElementsAre("a", "\nb"));
  EXPECT_THAT(documents("aba--a", "aba"), ElementsAre("--a"));
}

TEST(Documents, AnEmptySeparatorKeepsTheText) { EXPECT_THAT(documents("a\n\nb", ""), ElementsAre("a\n\nb")); }

TEST(Documents, HoldAnyByte) {
  const std::string text("a\0\xff|\0b", 6);
  EXPECT_THAT(documents(text, "|"), ElementsAre(std::string("a\0\xff", 3), std::string("\0b", 2)));
}

RC_GTEST_PROP(Documents, JoinBackToTheText, (const std::vector<std::string>& pieces)) {
  std::string text;
  std::vector<std::string> expected;
  for (const std::string& piece : pieces) {
    std::string clean = piece;
    std::erase(clean, '|');
    text += clean + "|";
    if (!clean.empty()) expected.push_back(clean);
  }
  RC_ASSERT(documents(text, "|") == expected);
}

int count_validating(std::uint64_t seed, double fraction, int num_documents) {
  const ValidationDraw validates(seed, fraction, num_documents);
  int count = 0;
  for (int document = 0; document < num_documents; ++document) count += validates(document);
  return count;
}

TEST(ValidationDraw, TakesTheFraction) {
  EXPECT_NEAR(count_validating(1, 0.1, 100'000), 10'000, 500);  // five standard deviations
  EXPECT_NEAR(count_validating(2, 0.5, 100'000), 50'000, 800);
}

TEST(ValidationDraw, LeavesBothSplitsADocument) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const int num_documents : {2, 3, 10}) {
      EXPECT_EQ(count_validating(seed, 1e-12, num_documents), 1);
      EXPECT_EQ(count_validating(seed, 1 - 1e-12, num_documents), num_documents - 1);
    }
  }
}

TEST(ValidationDraw, DependsOnTheSeed) {
  const ValidationDraw first(1, 0.5, 64), same(1, 0.5, 64), other(2, 0.5, 64);
  int different = 0;
  for (int document = 0; document < 64; ++document) {
    EXPECT_EQ(first(document), same(document));
    different += first(document) != other(document);
  }
  EXPECT_GT(different, 10);
}

}  // namespace
}  // namespace mudelta
