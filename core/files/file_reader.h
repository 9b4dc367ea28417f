#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

namespace mudelta {

// A regular file, open for reading. A file that is cut short meanwhile, or a disk that fails, is an Error like any
// other; under a mapping it would be a signal.
class FileReader {
 public:
  // Throws Error, naming the file and the system's reason, if it cannot be opened or is not a regular file: nothing
  // waits for a pipe's other end.
  explicit FileReader(const std::filesystem::path& path);
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::int64_t num_bytes() const { return num_bytes_; }  // when it was opened

  // `out` = the bytes from `begin`. Throws Error, naming the file, if it has fewer or the system refuses. For any
  // number of threads.
  void read(std::int64_t begin, std::span<std::byte> out) const;
  // The first num_bytes(), or all of them.
  std::string text(std::int64_t num_bytes) const;
  std::string text() const { return text(num_bytes()); }
  // The whole file in order, kBlockBytes at a time (the last block may be shorter).
  static constexpr std::int64_t kBlockBytes = 1 << 20;
  void for_each_block(const std::function<void(std::span<const std::byte>)>& visit) const;

 private:
  struct Descriptor {
    int value;
    ~Descriptor();
  };

  std::filesystem::path path_;
  Descriptor descriptor_;
  std::int64_t num_bytes_ = 0;
};

}  // namespace mudelta
