#include "core/files/file_writer.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryMark = ".tmp-";

// A device or the like, maybe at the end of a link; /dev/stdout may lead to a file, which is no reason to replace it.
bool is_written_in_place(const fs::path& path) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  const bool is_special = type == fs::file_type::character || type == fs::file_type::block ||
                          type == fs::file_type::fifo || type == fs::file_type::socket;
  return is_special || fs::absolute(path, error).lexically_normal().parent_path() == "/dev";
}

// Makes a rename in `folder` durable. Some file systems cannot sync a folder: the file itself is safe all the same.
void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

FileWriter::FileWriter(const fs::path& path) : path_(path), in_place_(is_written_in_place(path)) {
  if (!in_place_) {
    make_temporary();
    return;
  }
  fd_ = ::open(path_.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
  check(fd_ >= 0, "open");
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void FileWriter::append(std::span<const std::byte> bytes) {
  const std::int64_t offset = num_bytes_;
  num_bytes_ += std::ssize(bytes);
  write(bytes, in_place_ ? -1 : offset);
}

void FileWriter::overwrite(std::int64_t offset, std::span<const std::byte> bytes) {
  CHECK_LE(offset + std::ssize(bytes), num_bytes_);
  write(bytes, offset);
}

void FileWriter::commit() {
  if (!in_place_) check(::fsync(fd_) == 0, "sync");
  check(::close(std::exchange(fd_, -1)) == 0, "close");
  if (in_place_) return;
  check(::rename(temporary_.c_str(), path_.c_str()) == 0, "replace");
  temporary_.clear();
  sync_folder(path_.parent_path());
}

void FileWriter::make_temporary() {
  constexpr int kTries = 1000;  // what crashed processes of this number may have left
  fs::path candidate;
  for (int number = 0; number < kTries && fd_ < 0; ++number) {
    candidate = fmt::format("{}{}{}-{}", path_.string(), kTemporaryMark, ::getpid(), number);
    fd_ = ::open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) break;
  }
  check(fd_ >= 0, "create");
  temporary_ = candidate;
}

// At `offset`, or, if that is negative, after what was written last.
void FileWriter::write(std::span<const std::byte> bytes, std::int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written =
        offset < 0 ? ::write(fd_, bytes.data(), bytes.size()) : ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    check(written > 0, "write");
    if (offset >= 0) offset += written;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void FileWriter::check(bool ok, const char* action) const {
  require(ok, "cannot {} {}: {}", action, path_.string(), std::strerror(errno));
}

bool is_temporary_of(const fs::path& path, const fs::path& name) {
  const std::string text = name.filename().string(), start = path.filename().string() + std::string(kTemporaryMark);
  if (!text.starts_with(start)) return false;
  const std::string_view numbers = std::string_view(text).substr(start.size());
  return std::ranges::count(numbers, '-') == 1 && numbers.find_first_not_of("0123456789-") == std::string_view::npos;
}

void remove_temporaries_of(const fs::path& path) {
  std::error_code error;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : ".";
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (is_temporary_of(path, it->path()) && it->is_regular_file(ignored)) fs::remove(it->path(), ignored);
  }
}

}  // namespace mudelta
