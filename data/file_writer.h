#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace mudelta {

// A new file that takes its name only once it is whole and on disk: until `commit` it is called PATH.tmp, and it is
// removed if `commit` is not reached. Every function throws Error, naming the file and the system's reason, if the
// system refuses or writes less than asked.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void append(std::span<const std::byte> bytes);
  // Replaces bytes that were written already.
  void overwrite(std::int64_t offset, std::span<const std::byte> bytes);
  // fsync, close, rename; call it once, as the last thing.
  void commit();

 private:
  void check(bool ok, const char* action) const;

  std::filesystem::path path_, temporary_;
  std::int64_t num_bytes_ = 0;
  int fd_ = -1;
  bool committed_ = false;
};

}  // namespace mudelta
