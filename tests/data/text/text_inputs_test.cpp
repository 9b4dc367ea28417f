#include "data/text/text_inputs.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "tests/data/text/packed.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using testing::gzip_of;
using ::testing::HasSubstr;
using testing::write_file;
using testing::zstd_of;

std::vector<std::string> documents_of(const TextInputs& inputs, BadLines* bad = nullptr) {
  std::vector<std::string> documents;
  std::int64_t done = 0;
  inputs.for_each_document(
      [&](std::string_view piece, bool starts_document) {
        EXPECT_FALSE(piece.empty());
        if (starts_document) documents.emplace_back();
        documents.back() += piece;
      },
      [&](std::int64_t num_bytes) { done += num_bytes; }, bad);
  EXPECT_EQ(done, inputs.num_bytes());
  return documents;
}

TEST(TextInputs, TextAndJsonLinesPlainAndPacked) {
  const testing::TemporaryFolder folder;
  const std::string text = "one\n\ntwo",
                    lines = "{\"text\": \"three\\n\\nparts\"}\n{\"text\": \"\"}\n{\"text\": \"four\"}\n";
  const TextInputs inputs(
      {.files = {write_file(folder / "a.txt", text), write_file(folder / "a.txt.gz", gzip_of(text)),
                 write_file(folder / "empty.txt", ""), write_file(folder / "empty.gz", gzip_of("")),
                 write_file(folder / "b.jsonl", lines), write_file(folder / "b.ndjson.gz", gzip_of(lines)),
                 write_file(folder / "b.json.zst", zstd_of(lines))}});
  EXPECT_THAT(documents_of(inputs), ElementsAre("one", "two", "one", "two", "three\n\nparts", "four", "three\n\nparts",
                                                "four", "three\n\nparts", "four"));
  EXPECT_EQ(inputs.num_files(), 7);
  EXPECT_EQ(inputs.num_empty(), 2);
  EXPECT_EQ(inputs.num_json_lines(), 3);
}

TEST(TextInputs, BadLinesAreCountedAndTheFirstShown) {
  const testing::TemporaryFolder folder;
  std::string lines = "{\"text\": \"a\"}\n";
  for (int i = 0; i < 7; ++i) lines += "{\"txt\": 1}\n";
  const auto path = write_file(folder / "b.jsonl", lines);
  BadLines bad;
  EXPECT_THAT(documents_of(TextInputs({.files = {path}}), &bad), ElementsAre("a"));
  EXPECT_EQ(bad.count, 7);
  ASSERT_EQ(bad.shown.size(), 5u);
  EXPECT_THAT(bad.shown[0], HasSubstr(path.string() + ":2: it has no field \"text\""));
  EXPECT_THAT(error_of([&] { documents_of(TextInputs({.files = {path}, .skip_bad_lines = false})); }),
              HasSubstr(path.string() + ":2: it has no field"));
  EXPECT_THAT(error_of([&] { documents_of(TextInputs({.files = {path}, .field = "body"})); }),
              AllOf(HasSubstr("all 8 lines of " + path.string() + " are bad"), HasSubstr("no field \"body\"")));
}

}  // namespace
}  // namespace mudelta
