#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/text/document_splitter.h"

namespace mudelta {

struct TextOptions {
  std::vector<std::filesystem::path> files;
  // Text that ends a document of a text file; each file ends one too. Empty: a file is one document.
  std::string document_separator = "\n\n";
  std::string field = "text";  // of JSON lines
  bool skip_bad_lines = true;  // of JSON lines; otherwise they are errors
};

// What is known of the lines that were skipped.
struct BadLines {
  static constexpr std::size_t kMostShown = 5;

  std::int64_t count = 0;
  std::vector<std::string> shown;  // the first of them: "FILE:12: it has no field "text""
};

// Files of text or of JSON lines (each line one document), plain or compressed by gzip or zstd, one open at a time.
// JSON lines are known by their name (.jsonl, .ndjson, also before .gz and .zst) or by two first lines that are
// objects.
class TextInputs {
 public:
  // Looks at each. Throws Error on one that is missing, surely no text (text_file.h), or damaged, and if all are empty.
  explicit TextInputs(TextOptions options);

  std::int64_t num_bytes() const;  // of all files, as they lie on the disk
  std::int64_t num_files() const { return std::ssize(files_); }
  std::int64_t num_empty() const { return num_empty_; }
  std::int64_t num_crlf() const { return num_crlf_; }  // text files with CRLF line ends
  std::int64_t num_json_lines() const { return num_json_lines_; }

  // Reads all files, in their order. Calls progress(bytes) after each block, with those of the file that it took; what
  // that throws ends it. Throws Error on a file that is another than before, damaged or cut short, on a bad line that
  // is not to be skipped, and on a file of JSON lines that are all bad. Lines that are skipped are added to `bad`, if
  // there is one.
  void for_each_document(const DocumentVisitor& visit, const std::function<void(std::int64_t)>& progress,
                         BadLines* bad = nullptr) const;

 private:
  struct File {
    std::filesystem::path path;
    std::int64_t num_bytes;
    bool is_json_lines;
  };

  void read_json_lines(const File& file, const DocumentVisitor& visit,
                       const std::function<void(std::int64_t)>& progress, BadLines* bad) const;

  TextOptions options_;
  std::vector<File> files_;
  std::int64_t num_empty_ = 0, num_crlf_ = 0, num_json_lines_ = 0;
};

}  // namespace mudelta
