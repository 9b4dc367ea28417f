#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "core/files/file_reader.h"

namespace mudelta {

// The text of a file from its start, unpacked if it is compressed by gzip or zstd, as its first bytes tell.
class TextReader {
 public:
  // Throws Error as FileReader.
  explicit TextReader(const std::filesystem::path& path);
  ~TextReader();

  // The next FileReader::kBlockBytes of text, fewer only at its end; empty after it. It is there until the next call.
  // Throws Error, naming the file, if it is cut short, damaged, or cannot be read.
  std::string_view next();

  const FileReader& file() const { return file_; }
  std::int64_t bytes_read() const;  // of the file, as it lies on the disk

  class Source;

 private:
  FileReader file_;
  std::unique_ptr<Source> source_;
  std::vector<char> block_;
};

}  // namespace mudelta
