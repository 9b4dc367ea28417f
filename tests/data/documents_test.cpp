#include "data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "data/text/document_splitter.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Of a text that comes `part` bytes at a time; 0: whole.
std::vector<std::string> documents(std::string_view text, const std::string& separator, std::size_t part = 0) {
  std::vector<std::string> found;
  DocumentSplitter splitter(separator, [&](std::string_view piece, bool starts_document) {
    EXPECT_FALSE(piece.empty());
    if (starts_document) found.emplace_back();
    ASSERT_FALSE(found.empty());
    found.back() += piece;
  });
  for (; part > 0 && text.size() > part; text.remove_prefix(part)) splitter.append(text.substr(0, part));
  splitter.append(text);
  splitter.finish();
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

TEST(Documents, LineEndsMayBeCrlf) {
  EXPECT_THAT(documents("a\r\n\r\nb\r\nc\r\n\r\n", "\n\n"), ElementsAre("a", "b\r\nc"));
  EXPECT_THAT(documents("a\n\nb\r\n\r\nc\n\r\nd\r\n\ne", "\n\n"), ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_THAT(documents("a\r\n--\r\nb", "\n--\n"), ElementsAre("a", "b"));
  EXPECT_THAT(documents("a--\r\nb", "--\n"), ElementsAre("a", "b"));
  EXPECT_THAT(documents("a\rb\r\r\n\nc", "\n\n"), ElementsAre("a\rb\r", "c"));
}

TEST(Documents, ASeparatorMayNameItsCarriageReturns) {
  EXPECT_THAT(documents("a\r\n\r\nb\n\nc", "\r\n\r\n"), ElementsAre("a", "b\n\nc"));
}

// However the text comes in parts, the documents are the same.
RC_GTEST_PROP(Documents, DoNotDependOnTheParts, ()) {
  const auto text = *rc::gen::container<std::string>(rc::gen::element('a', '-', '\r', '\n'));
  const std::string separator = *rc::gen::element<std::string>("\n\n", "\n", "-\n", "\n-\n", "--", "");
  const auto whole = documents(text, separator);
  for (const std::size_t part : {1, 2, 3, 5}) RC_ASSERT(documents(text, separator, part) == whole);
}

TEST(DocumentSizes, Median) {
  DocumentSizes sizes;
  EXPECT_EQ(sizes.median(), 0);
  for (const std::int64_t size : {9, 1, 5}) sizes.add(size);
  EXPECT_EQ(sizes.median(), 5);
  sizes.add(1);
  EXPECT_EQ(sizes.median(), 1);
  sizes.add(100);
  EXPECT_EQ(sizes.median(), 5);
  EXPECT_EQ(sizes.num_documents(), 5);
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
