#include "data/text_file.h"

#include <gmock/gmock.h>

#include <string>

namespace mudelta {
namespace {

using namespace std::string_literals;
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
  EXPECT_THAT(why_not_text("a.gz", "\x1f\x8b\x08"),
              HasSubstr("is compressed by gzip: unpack it first (gunzip -k a.gz)"));
  EXPECT_THAT(why_not_text("a", "\x28\xb5\x2f\xfd..."), HasSubstr("zstd -d a"));
  EXPECT_THAT(why_not_text("a", "\xfd"s + "7zXZ\0"s), HasSubstr("xz -dk a"));
  EXPECT_THAT(why_not_text("a", "BZh91AY&SY"), HasSubstr("bunzip2 -k a"));
  EXPECT_THAT(why_not_text("a", "PK\x03\x04"), HasSubstr("unzip a"));
}

TEST(WhyNotText, OtherFormatsAreNot) {
  EXPECT_THAT(why_not_text("a.pdf", "%PDF-1.7"), HasSubstr("pdftotext a.pdf"));
  EXPECT_THAT(why_not_text("a", "PAR1"), HasSubstr("Parquet"));
  EXPECT_THAT(why_not_text("a",
                           "\xff\xfe"
                           "a\0"s),
              HasSubstr("iconv -f UTF-16"));
  EXPECT_THAT(why_not_text("a",
                           "\x7f"
                           "ELF\x02\x01\x01\0\0"s),
              HasSubstr("is not text: its byte 7 is zero"));
}

TEST(WhyNotText, JsonLinesAreNot) {
  EXPECT_THAT(why_not_text("a.jsonl", "whatever"), HasSubstr("JSON lines"));
  EXPECT_THAT(why_not_text("a.ndjson", "whatever"), HasSubstr("jq -j"));
  EXPECT_THAT(why_not_text("a.txt", "\n{\"text\": \"a\"}\r\n{\"text\": \"b\"}\n{"), HasSubstr("JSON lines"));
}

TEST(CrlfLineEnds, AreSeen) {
  EXPECT_TRUE(has_crlf_line_ends("a\r\nb"));
  EXPECT_FALSE(has_crlf_line_ends("a\nb\r"));
}

}  // namespace
}  // namespace mudelta
