#include "data/tokenizers/stored_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/tokenizers/small_tokenizer.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_file;

TEST(TokenizerId, TextAndBack) {
  const TokenizerId id = {"tokenizer.json", "0123456789abcdef", "<|a:b|>"};
  EXPECT_EQ(to_string(id), "tokenizer.json:0123456789abcdef:<|a:b|>");
  EXPECT_EQ(parse_tokenizer_id(to_string(id)), id);
  EXPECT_EQ(parse_tokenizer_id("byte"), TokenizerId());
  EXPECT_EQ(to_string(TokenizerId()), "byte");
  for (const char* wrong : {"tokenizer.json", "tokenizer.json:", "tokenizer.json:0123", "tokenizer.json:0123:"}) {
    EXPECT_THAT(error_of([&] { parse_tokenizer_id(wrong); }), HasSubstr("KIND:CHECKSUM:SEPARATOR")) << wrong;
  }
  EXPECT_THAT(error_of([] { parse_tokenizer_id("bite"); }),
              AllOf(HasSubstr("\"bite\""), HasSubstr("byte, tokenizer.json")));
}

TEST(StoredTokenizer, OpensKeepsAndLoads) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "mine.json").string();
  write_file(file, testing::byte_level_json({{"a", "b"}}).dump());
  const StoredTokenizer opened = open_tokenizer(file);
  EXPECT_EQ(opened.id.kind, "tokenizer.json");
  EXPECT_EQ(opened.id.separator, "<|endoftext|>");
  opened.save(folder.path());
  const StoredTokenizer loaded = load_tokenizer(folder.path(), opened.id);
  EXPECT_EQ(loaded.id, opened.id);
  EXPECT_EQ(loaded.tokenizer->encode("ab"), std::vector{256});
  const StoredTokenizer other = open_tokenizer(file, "a");
  EXPECT_EQ(other.id.separator, "a");
  EXPECT_EQ(load_tokenizer(folder.path(), other.id).tokenizer->separator(), 'a');
}

TEST(StoredTokenizer, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "tokenizer.json").string();
  EXPECT_THAT(error_of([&] { open_tokenizer(file); }), AllOf(HasSubstr(file), HasSubstr("byte")));
  write_file(file, "{}");
  EXPECT_THAT(error_of([&] { open_tokenizer(file); }), AllOf(HasSubstr(file), HasSubstr("decoder")));
  EXPECT_THAT(error_of([&] {
                load_tokenizer(folder.path(), {"tokenizer.json", "0123456789abcdef", "a"});
              }),
              AllOf(HasSubstr(file), HasSubstr("0123456789abcdef")));
  write_file(file, "a text");
  EXPECT_THAT(error_of([&] { open_tokenizer(file); }), AllOf(HasSubstr(file), HasSubstr("no tokenizer")));
  EXPECT_THAT(error_of([] { open_tokenizer("byte", "x"); }), HasSubstr("separator of its own"));
}

}  // namespace
}  // namespace mudelta
