#include "data/text/json_lines.h"

#include <gmock/gmock.h>

#include <vector>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::string_literals;

struct Read {
  std::vector<std::string> texts, bad;
};

Read read(const std::string& content, std::size_t part = 1000, const std::string& field = "text") {
  Read read;
  JsonLines lines(
      "a.jsonl", field, [&](std::string_view text) { read.texts.emplace_back(text); },
      [&](std::int64_t line, const std::string& reason) { read.bad.push_back(fmt::format("{}: {}", line, reason)); });
  for (std::size_t begin = 0; begin < content.size(); begin += part) lines.append(content.substr(begin, part));
  lines.finish();
  return read;
}

TEST(JsonLines, AnObjectALine) {
  const std::string content =
      "{\"text\": \"one\"}\n\n{\"id\": [1, {\"text\": 2}], \"text\": \"two\\nlines\"}\r\n \t\n{\"text\":\"\"}";
  for (std::size_t part = 1; part <= content.size(); ++part) {
    const Read all = read(content, part);
    EXPECT_THAT(all.texts, ElementsAre("one", "two\nlines", "")) << part;
    EXPECT_THAT(all.bad, IsEmpty()) << part;
  }
}

TEST(JsonLines, EscapesOfUnicode) {
  EXPECT_THAT(read(R"({"text": "\uD83D\uDE00 \u00e9 \u0000 \" \/ 😀"})").texts,
              ElementsAre("\U0001f600 \u00e9 "s + '\0' + " \" / \U0001f600"));
  EXPECT_THAT(read(R"({"text": "half a pair: \ud83d"})").bad, ElementsAre(HasSubstr("1: ")));
  EXPECT_THAT(read(R"({"text": "the other half: \ude00."})").bad, ElementsAre(HasSubstr("1: ")));
}

TEST(JsonLines, AnotherField) {
  EXPECT_THAT(read("{\"text\": 1, \"content\": \"a\"}", 5, "content").texts, ElementsAre("a"));
}

TEST(JsonLines, BadLinesAreToldAndTheOthersRead) {
  const Read all = read(
      "{\"text\": \"a\"}\nno JSON\n[1]\n{\"Text\": \"b\"}\n{\"text\": null}\n{\"text\": \"\xff\"}\n{\"text\": \"c\"} "
      "{}\n"
      "{\"text\": " +
      std::string(100, '[') + std::string(100, ']') + "}\n{\"text\": \"d\"");
  EXPECT_THAT(all.texts, ElementsAre("a"));
  EXPECT_THAT(all.bad,
              ElementsAre(HasSubstr("2: it is no JSON: column "), HasSubstr("3: it is array, expected an object"),
                          HasSubstr("4: it has no field \"text\""),
                          HasSubstr("5: its field \"text\" is null, expected a text"), HasSubstr("6: "),
                          HasSubstr("7: "), HasSubstr("8: it is no JSON: JSON is nested more than"), HasSubstr("9: ")));
}

}  // namespace
}  // namespace mudelta
