#include "data/text/text_file.h"

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
  std::string_view command;  // that makes text of a file named after it
};

constexpr std::array kFormats = {
    Format{"\xfd"
           "7zXZ\0"sv,
           "is compressed by xz: unpack it first", "xz -dk"},
    Format{"BZh91AY&SY"sv, "is compressed by bzip2: unpack it first", "bunzip2 -k"},
    Format{"PK\x03\x04"sv, "is a zip archive: unpack it first", "unzip"},
    Format{"%PDF-"sv, "is a PDF file: extract its text first", "pdftotext"},
    Format{"PAR1"sv, "is a Parquet file: write its texts as JSON lines first",
           "python3 -c 'import pandas, sys; pandas.read_parquet(sys.argv[1], columns=[\"text\"])"
           ".to_json(sys.argv[1] + \".jsonl\", orient=\"records\", lines=True)'"},
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

}  // namespace

std::string why_not_text(const std::filesystem::path& path, std::string_view head) {
  const std::string file = path.string();
  for (const Format& format : kFormats) {
    if (head.starts_with(format.start)) return fmt::format("{} ({} {})", format.what, format.command, file);
  }
  const std::size_t zero = head.substr(0, kZeroFreeBytes).find('\0');
  if (zero != head.npos) return fmt::format("is not text: its byte {} is zero", zero);
  return "";
}

bool is_json_lines(const std::filesystem::path& path, std::string_view head) {
  const bool is_packed = path.extension() == ".gz" || path.extension() == ".zst";
  const auto extension = (is_packed ? path.stem() : path).extension();
  if (extension == ".jsonl" || extension == ".ndjson") return true;
  return is_json_object(take_line(head)) && is_json_object(take_line(head));
}

bool has_crlf_line_ends(std::string_view head) { return head.find("\r\n") != head.npos; }

}  // namespace mudelta
