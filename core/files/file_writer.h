#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace mudelta {

// A new file that takes its name, and the place of what bore it, only once it is whole and on disk. Until `commit` it
// is a temporary file beside PATH that no one had before (PATH.tmp-PROCESS-NUMBER), which is removed if `commit` is not
// reached. A symbolic link to a file is replaced, never followed.
// Where PATH leads to a device, a pipe or a FIFO, or is a name in /dev, nothing is replaced: it is written as it
// stands. Every function throws Error, naming the file and the system's reason, if the system refuses or writes less
// than asked.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void append(std::span<const std::byte> bytes);
  // Replaces bytes that were written already; not possible in a pipe.
  void overwrite(std::int64_t offset, std::span<const std::byte> bytes);
  // fsync, close, rename; call it once, as the last thing.
  void commit();

 private:
  void make_temporary();
  void write(std::span<const std::byte> bytes, std::int64_t offset);
  void check(bool ok, const char* action) const;

  std::filesystem::path path_;
  bool in_place_;
  std::filesystem::path temporary_;  // empty once committed, and when writing in place
  std::int64_t num_bytes_ = 0;
  int fd_ = -1;
};

// Whether `name` is one that a FileWriter of `path` could have given its temporary file.
bool is_temporary_of(const std::filesystem::path& path, const std::filesystem::path& name);

// Removes the temporary files beside `path` that its writers left when a crash ended them; one that cannot be removed
// stays. For one process, while nobody writes `path`.
void remove_temporaries_of(const std::filesystem::path& path);

}  // namespace mudelta
