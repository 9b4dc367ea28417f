#include "data/text_file.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

namespace mudelta {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kZeroFreeBytes = 8192;

struct Format {
  std::string_view start;    // its files begin with it
  std::string_view what;     // "is ..."
  std::string_view command;  // that makes text of a file named after it; empty: none is common
};

constexpr std::array kFormats = {
    Format{"\x1f\x8b"sv, "is compressed by gzip: unpack it first", "gunzip -k"},
    Format{"\x28\xb5\x2f\xfd"sv, "is compressed by zstd: unpack it first", "zstd -d"},
    Format{"\xfd"
           "7zXZ\0"sv,
           "is compressed by xz: unpack it first", "xz -dk"},
    Format{"BZh91AY&SY"sv, "is compressed by bzip2: unpack it first", "bunzip2 -k"},
    Format{"PK\x03\x04"sv, "is a zip archive: unpack it first", "unzip"},
    Format{"%PDF-"sv, "is a PDF file: extract its text first", "pdftotext"},
    Format{"PAR1"sv, "is a Parquet file: write its text to a text file first", ""},
    Format{"\xff\xfe"sv, "is UTF-16 text: convert it first", "iconv -f UTF-16 -t UTF-8"},
    Format{"\xfe\xff"sv, "is UTF-16 text: convert it first", "iconv -f UTF-16 -t UTF-8"},
};

// The first line that is not empty, cut off `text` with all before it; without its end, which must be there.
std::string_view take_line(std::string_view& text) {
  std::string_view line;
  while (line.empty() && text.find('\n') != text.npos) {
    line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
  }
  return line;
}

bool is_json_object(std::string_view line) { return line.starts_with('{') && nlohmann::json::accept(line); }

bool is_json_lines(const std::filesystem::path& path, std::string_view head) {
  if (path.extension() == ".jsonl" || path.extension() == ".ndjson") return true;
  return is_json_object(take_line(head)) && is_json_object(take_line(head));
}

}  // namespace

std::string why_not_text(const std::filesystem::path& path, std::string_view head) {
  const std::string file = path.string();
  for (const Format& format : kFormats) {
    if (!head.starts_with(format.start)) continue;
    if (format.command.empty()) return std::string(format.what);
    return fmt::format("{} ({} {})", format.what, format.command, file);
  }
  if (is_json_lines(path, head)) {
    return fmt::format(
        "holds JSON lines, whose quotes and field names would be learnt: extract the text first (if its field is "
        "`text`: jq -j '.text + \"\\f\"' {} > corpus.txt, to be prepared with --separator '\\f')",
        file);
  }
  const std::size_t zero = head.substr(0, kZeroFreeBytes).find('\0');
  if (zero != head.npos) return fmt::format("is not text: its byte {} is zero", zero);
  return "";
}

bool has_crlf_line_ends(std::string_view head) { return head.find("\r\n") != head.npos; }

}  // namespace mudelta
