#include "data/text/text_file.h"

#include <gmock/gmock.h>

#include <string>

namespace mudelta {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(WhyNotText, TextIsText) {
  for (const std::string& head :
       {"plain\n"s, ""s, "\xef\xbb\xbfwith a mark"s, "Latin-1: \xe4\xf6"s, "{\"a\": 1}\n"s, "{a}\n{b}\n"s, "BZhang\n"s,
        "[1]\n[2]\n"s, "{}\nno JSON\n"s, std::string(8192, 'x') + "\0"s}) {
    EXPECT_THAT(why_not_text("a.txt", head), IsEmpty()) << head.substr(0, 20);
  }
}

TEST(WhyNotText, CompressedFilesAreNot) {
  EXPECT_THAT(why_not_text("a", "\xfd"s + "7zXZ\0"s), HasSubstr("xz -dk a"));
  EXPECT_THAT(why_not_text("a", "BZh91AY&SY"), HasSubstr("bunzip2 -k a"));
  EXPECT_THAT(why_not_text("a", "PK\x03\x04"), HasSubstr("unzip a"));
}

TEST(WhyNotText, OtherFormatsAreNot) {
  EXPECT_THAT(why_not_text("a.pdf", "%PDF-1.7"), HasSubstr("pdftotext a.pdf"));
  EXPECT_THAT(why_not_text("a.parquet", "PAR1"),
              AllOf(HasSubstr("Parquet"), HasSubstr("pandas"), HasSubstr("a.parquet")));
  EXPECT_THAT(why_not_text("a",
                           "\xff\xfe"
                           "a\0"s),
              HasSubstr("iconv -f UTF-16"));
  EXPECT_THAT(why_not_text("a",
                           "\x7f"
                           "ELF\x02\x01\x01\0\0"s),
              HasSubstr("is not text: its byte 7 is zero"));
}

TEST(JsonLines, AreKnownByNameOrFirstLines) {
  for (const char* name : {"a.jsonl", "a.ndjson", "a.b.jsonl.gz", "a.ndjson.zst"})
    EXPECT_TRUE(is_json_lines(name, "")) << name;
  for (const char* name : {"a.json", "jsonl", "a.jsonl.txt", "a.gz", "jsonl.gz"})
    EXPECT_FALSE(is_json_lines(name, "{}\n")) << name;
  EXPECT_TRUE(is_json_lines("a.txt", "\n{\"text\": \"a\"}\r\n{\"text\": \"b\"}\n{"));
  for (const char* head : {"{\"a\": 1}\n", "{a}\n{b}\n", "[1]\n[2]\n", "{}\nno JSON\n", "{}\n{}"}) {
    EXPECT_FALSE(is_json_lines("a.txt", head)) << head;
  }
}

TEST(CrlfLineEnds, AreSeen) {
  EXPECT_TRUE(has_crlf_line_ends("a\r\nb"));
  EXPECT_FALSE(has_crlf_line_ends("a\nb\r"));
}

}  // namespace
}  // namespace mudelta
