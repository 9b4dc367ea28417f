#include "data/file_writer.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace mudelta {
namespace {

// Makes a rename in `folder` durable. Some file systems cannot sync a folder: the file itself is safe all the same.
void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

FileWriter::FileWriter(const std::filesystem::path& path) : path_(path), temporary_(path.string() + ".tmp") {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  check(fd_ >= 0, "create");
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
  if (!committed_) ::unlink(temporary_.c_str());
}

void FileWriter::append(std::span<const std::byte> bytes) {
  const std::int64_t offset = num_bytes_;
  num_bytes_ += static_cast<std::int64_t>(bytes.size());
  overwrite(offset, bytes);
}

void FileWriter::overwrite(std::int64_t offset, std::span<const std::byte> bytes) {
  CHECK_LE(offset + static_cast<std::int64_t>(bytes.size()), num_bytes_);
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    check(written > 0, "write");
    offset += written;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void FileWriter::commit() {
  check(::fsync(fd_) == 0, "sync");
  check(::close(std::exchange(fd_, -1)) == 0, "close");
  check(::rename(temporary_.c_str(), path_.c_str()) == 0, "rename");
  committed_ = true;
  sync_folder(path_.parent_path());
}

void FileWriter::check(bool ok, const char* action) const {
  require(ok, "cannot {} {}: {}", action, temporary_.string(), std::strerror(errno));
}

}  // namespace mudelta
