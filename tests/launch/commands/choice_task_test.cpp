#include "launch/commands/choice_task.h"

#include <gmock/gmock.h>

#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "tests/data/tokenizers/small_tokenizer.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ChoiceItem read(const std::string& line) {
  const TemporaryFolder folder;
  const auto items = read_choice_items(write_file(folder / "a.jsonl", "\n" + line + "\n \n"));
  EXPECT_EQ(items.size(), 1u);
  return items.front();
}

TEST(ChoiceItems, HaveSeveralLayouts) {
  ChoiceItem item = read(R"({"context": "one", "choices": [" two", "three"], "answer": 1})");
  EXPECT_EQ(item.context, "one");
  EXPECT_THAT(item.choices, ElementsAre(" two", "three"));
  EXPECT_EQ(item.answer, 1u);
  item = read(R"({"ind": 4, "ctx": "A man", "endings": ["sits.", "runs."], "label": "1"})");
  EXPECT_EQ(item.context, "A man");
  EXPECT_THAT(item.choices, ElementsAre(" sits.", " runs."));
  EXPECT_EQ(item.answer, 1u);
  for (
      const char* line :
      {R"({"question": "Why?", "choices": {"text": ["so", "no"], "label": ["A", "B"]}, "answerKey": "B"})",
       R"({"question": {"stem": "Why?", "choices": [{"text": "so", "label": "1"}, {"text": "no", "label": "2"}]}, "answerKey": "2"})"}) {
    item = read(line);
    EXPECT_EQ(item.context, "Question: Why?\nAnswer:");
    EXPECT_THAT(item.choices, ElementsAre(" so", " no"));
    EXPECT_EQ(item.answer, 1u);
  }
  item = read(R"({"text": "the end of a story"})");
  EXPECT_EQ(item.context, "the end of a");
  EXPECT_THAT(item.choices, ElementsAre(" story"));
}

TEST(ChoiceItems, ABadLineIsNamed) {
  const TemporaryFolder folder;
  for (const auto& [line, told] :
       {std::pair<std::string, std::string>{"[1]", "array, expected an object"},
        {"no JSON", "syntax error"},
        {R"({"a": 1})", "none of the fields question, endings, choices and text"},
        {R"({"text": "word"})", "expected a word after a space"},
        {R"({"text": "word "})", "expected a word after a space"},
        {R"({"context": "a", "choices": [], "answer": 0})", "its choices are none"},
        {R"({"context": "a", "choices": ["b", 1], "answer": 0})", "its choices is number"},
        {R"({"context": "a", "choices": ["b", " "], "answer": 0})", "choices is empty"},
        {R"({"context": "a", "choices": ["b"], "answer": 1})", "expected a number below 1"},
        {R"({"choices": ["b"], "answer": 0})", "no field \"context\""},
        {R"({"ctx": "a", "endings": ["b"]})", "no field \"label\""},
        {R"({"question": "a", "choices": {"text": ["b"], "label": ["A", "B"]}, "answerKey": "A"})",
         "1 choices and 2 labels"},
        {R"({"question": "a", "choices": {"text": ["b"], "label": ["A"]}, "answerKey": "C"})",
         "its answer is C, expected one of A"}}) {
    const auto path = write_file(folder / "a.jsonl", "{\"text\": \"a b\"}\n" + line + "\n");
    EXPECT_THAT(error_of([&] { read_choice_items(path); }), AllOf(HasSubstr(path.string() + ":2: "), HasSubstr(told)))
        << line;
  }
  EXPECT_THAT(error_of([&] { read_choice_items(write_file(folder / "b.jsonl", "\n")); }), HasSubstr("holds no item"));
}

TEST(ChoiceTokens, AreThoseOfTheChoice) {
  const ByteTokenizer bytes;
  ScoredTokens tokens = tokens_of({"ab", {"cd"}, 0}, 0, bytes, 100);
  EXPECT_THAT(tokens.tokens, ElementsAre(256, 'a', 'b', 'c', 'd'));
  EXPECT_EQ(tokens.first, 3);
  tokens = tokens_of({"ab", {"cd"}, 0}, 0, bytes, 3);  // three inputs
  EXPECT_THAT(tokens.tokens, ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_EQ(tokens.first, 2);
  tokens = tokens_of({"ab", {"cd"}, 0}, 0, bytes, 2);
  EXPECT_THAT(tokens.tokens, ElementsAre('b', 'c', 'd'));
  EXPECT_THAT(error_of([&] {
                tokens_of({"ab", {"cd"}, 0}, 0, bytes, 1);
              }),
              HasSubstr("has 2 tokens, expected at most 1"));
  tokens = tokens_of({"", {"c"}, 0}, 0, bytes, 1);
  EXPECT_THAT(tokens.tokens, ElementsAre(256, 'c'));
  EXPECT_EQ(tokens.first, 1);
}

// Of "ab", "b" would be a token of its own; after an "a" it is a part of another.
TEST(ChoiceTokens, MayTakeTheEndOfTheContextAlong) {
  const TemporaryFolder folder;
  const auto tokenizer =
      open_tokenizer(write_file(folder / "t.json", byte_level_json({{"a", "b"}}).dump()).string()).tokenizer;
  const ScoredTokens tokens = tokens_of({"xa", {"bc"}, 0}, 0, *tokenizer, 100);
  EXPECT_THAT(tokens.tokens, ElementsAre(257, 'x', 256, 'c'));
  EXPECT_EQ(tokens.first, 2);
}

TEST(ChoiceLength, IsInCharacters) {
  EXPECT_EQ(length_of(" a\u00e9\U0001f600 b"), 5);
  EXPECT_EQ(length_of("a"), 1);
}

}  // namespace
}  // namespace mudelta::testing
