#include "core/files/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>

#include "core/files/file_writer.h"
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

TEST(AtomicFile, NothingElseIsTouched) {
  const TemporaryFolder folder, outside;
  const auto path = folder / "file", victim = testing::write_file(outside / "victim", "kept");
  testing::write_file(folder / "file.tmp", "the user's");
  for (int number = 0; number < 2; ++number) {
    std::filesystem::create_symlink(victim, folder / fmt::format("file.tmp-{}-{}", ::getpid(), number));
  }
  write_file_atomically(path, "text");
  EXPECT_EQ(read_file(path), "text");
  EXPECT_EQ(read_file(folder / "file.tmp"), "the user's");
  EXPECT_EQ(read_file(victim), "kept");
  EXPECT_EQ(names_in(folder.path()).size(), 4u);
}

TEST(AtomicFile, ALinkToAFileIsReplaced) {
  const TemporaryFolder folder, outside;
  const auto victim = testing::write_file(outside / "victim", "kept");
  std::filesystem::create_symlink(victim, folder / "file");
  write_file_atomically(folder / "file", "text");
  EXPECT_EQ(read_file(victim), "kept");
  EXPECT_FALSE(std::filesystem::is_symlink(folder / "file"));
  EXPECT_EQ(read_file(folder / "file"), "text");
}

TEST(AtomicFile, DevicesAndPipesAreWritten) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("/dev/null", folder / "null");
  write_file_atomically(folder / "null", "text");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "null"));
  std::filesystem::create_symlink("/dev/full", folder / "full");
  EXPECT_THAT(error_of([&] { write_file_atomically(folder / "full", "text"); }), HasSubstr("No space left on device"));

  const auto fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const int reader = ::open(fifo.c_str(), O_RDONLY | O_NONBLOCK);  // a writer that opens it does not wait
  ASSERT_GE(reader, 0);
  write_file_atomically(fifo, "through");
  std::string text(20, ' ');
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(reader, text.data(), text.size()), 0)));
  ::close(reader);
  EXPECT_EQ(text, "through");
  EXPECT_TRUE(std::filesystem::is_fifo(fifo));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("fifo", "full", "null"));
}

TEST(AtomicFile, LeftoversOfCrashesAreKnownByTheirNames) {
  const TemporaryFolder folder;
  for (const char* name : {"file.tmp", "file.tmp-", "file.tmp-1", "file.tmp-1-2x", "file.tmp-12-0", "other.tmp-12-0"}) {
    testing::write_file(folder / name, "");
  }
  remove_temporaries_of(folder / "file");
  EXPECT_THAT(names_in(folder.path()),
              ElementsAre("file.tmp", "file.tmp-", "file.tmp-1", "file.tmp-1-2x", "other.tmp-12-0"));
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
