#include "launch/job/folder_lock.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <glog/logging.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <sstream>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/host_name.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

std::string reason() { return std::strerror(errno); }

// The job that a lock names.
struct Holder {
  std::string host;
  pid_t pid = 0;
  std::string start;  // "2026-01-31 12:00:00 UTC"

  std::string to_string() const { return fmt::format("process {} on {}, begun at {}", pid, host, start); }
  std::string file_text() const { return fmt::format("host {}\npid {}\nbegun {}\n", host, pid, start); }
  bool is_seen_alive() const { return host == host_name() && pid != ::getpid() && ::kill(pid, 0) == 0; }
};

Holder this_process() {
  return {host_name(), ::getpid(), fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)))};
}

// pid 0: the file names none (yet).
Holder read_holder(int file) {
  std::array<char, 1024> text{};
  const ssize_t size = ::pread(file, text.data(), text.size(), 0);
  std::istringstream lines(std::string(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0));
  Holder holder;
  std::string key;
  lines >> key >> holder.host >> key >> holder.pid >> key >> std::ws;
  std::getline(lines, holder.start);
  return holder;
}

bool is_same_file(int a, const struct stat& b) {
  struct stat own {};
  return ::fstat(a, &own) == 0 && own.st_dev == b.st_dev && own.st_ino == b.st_ino;
}

[[noreturn]] void refuse(const fs::path& folder, const Holder& holder) {
  fail("another job is at work in {}: {}", folder.string(), holder.pid > 0 ? holder.to_string() : "it has just begun");
}

// The lock file, opened and locked.
int open_locked(int folder_descriptor, const fs::path& folder) {
  const std::string name(FolderLock::kFileName);
  for (;;) {
    const int file = ::openat(folder_descriptor, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    require(file >= 0, "cannot open {}: {}", (folder / name).string(), reason());
    const bool has_lock = ::flock(file, LOCK_EX | LOCK_NB) == 0;
    const bool is_taken = !has_lock && errno == EWOULDBLOCK;
    const Holder holder = read_holder(file);
    if (is_taken || (!has_lock && holder.is_seen_alive())) {
      ::close(file);
      refuse(folder, holder);
    }
    // The job that had it before may have removed it in between.
    struct stat named {};
    if (::fstatat(folder_descriptor, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 || !is_same_file(file, named)) {
      ::close(file);
      continue;
    }
    LOG_IF(WARNING, holder.pid > 0) << folder.string()
                                    << " was left by a job that did not end in good order: " << holder.to_string()
                                    << (has_lock ? "" : " (or is at work: this file system has no locks)");
    return file;
  }
}

}  // namespace

FolderLock::FolderLock(fs::path folder)
    : folder_(std::move(folder)), folder_descriptor_(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  require(folder_descriptor_ >= 0, "cannot open {}: {}", folder_.string(), reason());
  try {
    file_descriptor_ = open_locked(folder_descriptor_, folder_);
    const std::string text = this_process().file_text();
    const bool is_written = ::ftruncate(file_descriptor_, 0) == 0 &&
                            ::pwrite(file_descriptor_, text.data(), text.size(), 0) == std::ssize(text);
    require(is_written, "cannot write {}: {}", (folder_ / kFileName).string(), reason());
  } catch (const Error&) {
    release();
    throw;
  }
}

FolderLock::~FolderLock() { release(); }

void FolderLock::touch() const { ::futimens(file_descriptor_, nullptr); }

void FolderLock::release() {
  if (file_descriptor_ >= 0) {  // removed while it is locked, so that no other job has it
    ::unlinkat(folder_descriptor_, std::string(kFileName).c_str(), 0);
    ::close(file_descriptor_);
  }
  ::close(folder_descriptor_);
}

bool FolderLock::nothing_else_in(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  require(!error, "cannot list {}: {}", folder.string(), error.message());
  return std::ranges::all_of(entries,
                             [](const fs::directory_entry& entry) { return entry.path().filename() == kFileName; });
}

fs::path FolderLock::folder() const {
  const auto is_here = [&](const fs::path& path) {
    struct stat named {};
    return ::stat(path.c_str(), &named) == 0 && is_same_file(folder_descriptor_, named);
  };
  if (is_here(folder_)) return folder_;
  std::error_code error;
  fs::path moved = fs::read_symlink(fmt::format("/proc/self/fd/{}", folder_descriptor_), error);
  require(!error && is_here(moved), "{} was removed or replaced while a job was at work in it", folder_.string());
  return moved;
}

}  // namespace mudelta
