#pragma once

#include <filesystem>

namespace mudelta {

// A folder that takes its name only once it is whole and on the disk. Until `commit` it is one beside it of a name that
// nobody had (PATH.tmp-PROCESS-NUMBER), which is removed if `commit` is not reached.
class NewFolder {
 public:
  // Throws Error unless `path` is absent or an empty folder, or with `force` a folder that holds a model and nothing
  // else: what `commit` replaces is removed.
  NewFolder(const std::filesystem::path& path, bool force);
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }  // to be filled with files that are synced
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once committed
};

}  // namespace mudelta
