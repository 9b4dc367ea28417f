#pragma once

#include <filesystem>
#include <string_view>

namespace mudelta {

// One job's claim on a folder that it writes to: a file FOLDER/.lock that is locked with the system and names the job's
// host, process and start. The destructor removes it. However else a process ends, the system lets go of its lock; the
// next job warns of the file that it left. For one rank of a job.
// On a file system without locks only a job that is seen to live, on this host, is kept out.
class FolderLock {
 public:
  static constexpr std::string_view kFileName = ".lock";

  // Throws Error, naming the folder and the job that is at work in it, if there is one; also if the lock cannot be
  // written.
  explicit FolderLock(std::filesystem::path folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  // Whether `folder` holds nothing, or nothing but a lock. Throws Error if it cannot be listed.
  static bool nothing_else_in(const std::filesystem::path& folder);

  // The job's sign of life for those who watch it from outside: renews the file's time of change.
  void touch() const;

  // Where the folder is now, which may have been renamed. Throws Error, naming it, if it was removed or replaced.
  std::filesystem::path folder() const;

 private:
  void release();

  std::filesystem::path folder_;
  int folder_descriptor_ = -1;
  int file_descriptor_ = -1;
};

}  // namespace mudelta
