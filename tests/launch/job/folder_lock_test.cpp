#include "launch/job/folder_lock.h"

#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>

#include "core/host_name.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace {

bool file_system_has_locks = true;

}  // namespace

// In place of the C library's.
extern "C" int flock(int file, int operation) noexcept {
  if (file_system_has_locks) return static_cast<int>(::syscall(SYS_flock, file, operation));
  errno = ENOLCK;
  return -1;
}

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::names_in;
using testing::TemporaryFolder;
using testing::write_file;

constexpr char kNoError[] = "no error was thrown";

std::string lock_error(const std::filesystem::path& folder) {
  return error_of([&] { const FolderLock lock(folder); });
}

TEST(FolderLock, OneHolderAtATime) {
  const TemporaryFolder folder;
  {
    const FolderLock lock(folder.path());
    EXPECT_THAT(lock_error(folder.path()),
                AllOf(HasSubstr("another job is at work in " + folder.path().string()),
                      HasSubstr("process " + std::to_string(::getpid()) + " on " + host_name() + ", begun at 2")));
  }
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
  EXPECT_EQ(lock_error(folder.path()), kNoError);
}

TEST(FolderLock, ItsFileShowsLife) {
  const TemporaryFolder folder;
  const FolderLock lock(folder.path());
  const auto long_ago = std::filesystem::last_write_time(folder / ".lock") - std::chrono::hours(1);
  std::filesystem::last_write_time(folder / ".lock", long_ago);
  lock.touch();
  EXPECT_GT(std::filesystem::last_write_time(folder / ".lock"), long_ago + std::chrono::minutes(59));
}

TEST(FolderLock, AStaleOneIsTakenOver) {
  const TemporaryFolder folder;
  write_file(folder / ".lock", "host elsewhere\npid 7\nbegun 2026-01-01 00:00:00 UTC\n");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(lock_error(folder.path()), kNoError);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("process 7 on elsewhere, begun at 2026-01-01"));
  write_file(folder / ".lock", "not a lock");
  EXPECT_EQ(lock_error(folder.path()), kNoError);
}

// The holder that the file names must do instead.
TEST(FolderLock, AFileSystemWithoutLocks) {
  const TemporaryFolder folder;
  const auto holder = [](pid_t pid) {
    return fmt::format("host {}\npid {}\nbegun 2026-01-01 00:00:00 UTC\n", host_name(), pid);
  };
  file_system_has_locks = false;
  EXPECT_EQ(lock_error(folder.path()), kNoError);
  EXPECT_THAT(names_in(folder.path()), IsEmpty());

  write_file(folder / ".lock", holder(::getppid()));
  EXPECT_THAT(lock_error(folder.path()), AllOf(HasSubstr("another job is at work in " + folder.path().string()),
                                               HasSubstr("process " + std::to_string(::getppid()))));
  EXPECT_EQ(testing::read_file(folder / ".lock"), holder(::getppid()));

  const pid_t ended = ::fork();
  if (ended == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(ended, nullptr, 0), ended);
  write_file(folder / ".lock", holder(ended));
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(lock_error(folder.path()), kNoError);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("this file system has no locks"));
  file_system_has_locks = true;
}

TEST(FolderLock, TellsWhetherThereIsAnythingElse) {
  const TemporaryFolder folder;
  EXPECT_TRUE(FolderLock::nothing_else_in(folder.path()));
  const FolderLock lock(folder.path());
  EXPECT_TRUE(FolderLock::nothing_else_in(folder.path()));
  write_file(folder / "a", "");
  EXPECT_FALSE(FolderLock::nothing_else_in(folder.path()));
}

TEST(FolderLock, FollowsItsFolder) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "a");
  std::optional<FolderLock> lock(std::in_place, folder / "a");
  EXPECT_EQ(lock->folder(), folder / "a");
  std::filesystem::rename(folder / "a", folder / "b");
  EXPECT_EQ(lock->folder(), folder / "b");
  std::filesystem::create_directory(folder / "a");  // another one
  EXPECT_EQ(lock->folder(), folder / "b");
  lock.reset();
  EXPECT_THAT(names_in(folder / "b"), IsEmpty());

  lock.emplace(folder / "b");
  std::filesystem::remove_all(folder / "b");
  EXPECT_THAT(error_of([&] { lock->folder(); }), HasSubstr((folder / "b").string() + " was removed or replaced"));
}

TEST(FolderLock, FailuresNameTheFolder) {
  const TemporaryFolder folder;
  EXPECT_THAT(lock_error(folder / "absent"), HasSubstr((folder / "absent").string()));
  std::filesystem::create_symlink(folder / "elsewhere", folder / ".lock");
  EXPECT_THAT(lock_error(folder.path()), HasSubstr((folder / ".lock").string()));
  EXPECT_THAT(names_in(folder.path()), ::testing::ElementsAre(".lock"));
}

}  // namespace
}  // namespace mudelta
