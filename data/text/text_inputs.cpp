#include "data/text/text_inputs.h"

#include <utility>

#include "core/error.h"
#include "data/text/json_lines.h"
#include "data/text/text_file.h"
#include "data/text/text_reader.h"

namespace mudelta {
namespace {

// Feeds `parser` the text of a file, which is as long as it was.
template <class Parser>
void read_text(const std::filesystem::path& path, std::int64_t num_bytes, Parser& parser,
               const std::function<void(std::int64_t)>& progress) {
  TextReader reader(path);
  require(reader.file().num_bytes() == num_bytes, "input {} has changed from {} to {} bytes while it was in use",
          path.string(), num_bytes, reader.file().num_bytes());
  std::int64_t done = 0;
  for (auto block = reader.next(); !block.empty(); block = reader.next()) {
    parser.append(block);
    progress(reader.bytes_read() - std::exchange(done, reader.bytes_read()));
  }
  if (reader.bytes_read() > done) progress(reader.bytes_read() - done);  // packed, without text
  parser.finish();
}

}  // namespace

TextInputs::TextInputs(TextOptions options) : options_(std::move(options)) {
  std::int64_t num_refused = 0;
  std::string refused;  // the first
  for (const auto& path : options_.files) {
    TextReader reader(path);
    const std::string_view head = reader.next();
    const bool is_json = is_json_lines(path, head);
    files_.push_back({path, reader.file().num_bytes(), is_json});
    if (head.empty()) ++num_empty_;
    if (is_json) ++num_json_lines_;
    if (!is_json && has_crlf_line_ends(head)) ++num_crlf_;
    const std::string reason = why_not_text(path, head);
    if (!reason.empty() && num_refused++ == 0) refused = fmt::format("input {} {}", path.string(), reason);
  }
  require(num_refused == 0, "{}{}", refused,
          num_refused > 1 ? fmt::format("; {} other inputs are no text either", num_refused - 1) : "");
  require(num_empty_<num_files(), "input {} is empty{}", options_.files.front().string(), num_files()> 1
              ? ", as all others are"
              : "");
}

std::int64_t TextInputs::num_bytes() const {
  std::int64_t sum = 0;
  for (const File& file : files_) sum += file.num_bytes;
  return sum;
}

void TextInputs::for_each_document(const DocumentVisitor& visit, const std::function<void(std::int64_t)>& progress,
                                   BadLines* bad) const {
  for (const File& file : files_) {
    if (file.is_json_lines) {
      read_json_lines(file, visit, progress, bad);
    } else {
      DocumentSplitter splitter(options_.document_separator, visit);
      read_text(file.path, file.num_bytes, splitter, progress);
    }
  }
}

void TextInputs::read_json_lines(const File& file, const DocumentVisitor& visit,
                                 const std::function<void(std::int64_t)>& progress, BadLines* bad) const {
  std::int64_t num_good = 0, num_bad = 0;
  std::string first_bad;
  const auto add_bad = [&](std::int64_t line, const std::string& reason) {
    const std::string what = fmt::format("{}:{}: {}", file.path.string(), line, reason);
    require(options_.skip_bad_lines, "{}", what);
    if (num_bad++ == 0) first_bad = what;
    if (bad == nullptr) return;
    ++bad->count;
    if (bad->shown.size() < BadLines::kMostShown) bad->shown.push_back(what);
  };
  JsonLines lines(
      file.path.string(), options_.field,
      [&](std::string_view text) {
        ++num_good;
        if (!text.empty()) visit(text, /*starts_document=*/true);
      },
      add_bad);
  read_text(file.path, file.num_bytes, lines, progress);
  require(num_bad == 0 || num_good > 0, "all {} lines of {} are bad; the first: {}", num_bad, file.path.string(),
          first_bad);
}

}  // namespace mudelta
