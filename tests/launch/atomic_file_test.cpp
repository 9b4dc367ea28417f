#include "launch/atomic_file.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>
#include <string>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::names_in;
using testing::TemporaryFolder;

// Lets this process write files of at most `num_bytes`: beyond, the system refuses as it does on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t num_bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{num_bytes, old_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_;
  void (*old_handler_)(int);
};

TEST(AtomicFile, WritesAndReplaces) {
  const TemporaryFolder folder;
  const auto path = folder / "file";
  write_file_atomically(path, "one");
  EXPECT_EQ(read_file(path), "one");
  write_file_atomically(path, std::string("t\0w", 3));
  EXPECT_EQ(read_file(path), std::string("t\0w", 3));
  write_file_atomically(path, "");
  EXPECT_EQ(read_file(path), "");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file"));
}

TEST(AtomicFile, FullDiskLeavesTheOldFile) {
  const TemporaryFolder folder;
  const auto path = folder / "file";
  write_file_atomically(path, "old");
  {
    const FileSizeLimit limit(1000);
    const std::string error = error_of([&] { write_file_atomically(path, std::string(5000, 'x')); });
    EXPECT_THAT(error, HasSubstr(path.string()));
    EXPECT_THAT(error, HasSubstr("File too large"));
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file"));
}

TEST(AtomicFile, TargetThatCannotBeReplacedIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "taken");
  EXPECT_THAT(error_of([&] { write_file_atomically(folder / "taken", "text"); }),
              HasSubstr((folder / "taken").string()));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("taken"));
}

TEST(AtomicFile, MissingFoldersAndFilesAreErrors) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { write_file_atomically(folder / "absent/file", "text"); }),
              HasSubstr("No such file or directory"));
  EXPECT_THAT(error_of([&] { read_file(folder / "absent"); }), HasSubstr((folder / "absent").string()));
  EXPECT_THAT(error_of([&] { read_file(folder.path()); }), HasSubstr(folder.path().string()));
  EXPECT_THAT(error_of([&] { sync_folder(folder / "absent"); }), HasSubstr((folder / "absent").string()));
}

}  // namespace
}  // namespace mudelta
