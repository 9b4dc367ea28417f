// Saving while training goes on, and room for what is saved.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>

#include "launch/checkpoint/checkpoint_folder.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void begin(CheckpointWriter& writer, CheckpointRun& run, const fs::path& folder, std::int64_t step) {
  run.fill(static_cast<std::uint64_t>(step));
  writer.begin(folder, run.context(), CheckpointRun::state_of(step), run.optimizer);
}

// Whatever training does in between: other weights, and other updates.
TEST(CheckpointWriterTest, WritesTheBitsOfASaveThatTrainingWaitsFor) {
  for (const std::int64_t bucket_bytes : {200, 1 << 20}) {
    TemporaryFolder waited, beside;
    CheckpointRun run({.bucket_bytes = bucket_bytes, .keep = 1});
    CheckpointWriter writer(run.group);
    for (const std::int64_t step : {3, 5}) {
      run.save(waited.path(), step);
      begin(writer, run, beside.path(), step);
      EXPECT_TRUE(writer.is_under_way());
      run.fill(99);
      writer.finish(beside.path());
      EXPECT_FALSE(writer.is_under_way());
      EXPECT_EQ(names_in(beside / "checkpoints"), names_in(waited / "checkpoints"));
      const fs::path folder = checkpoint_path("", step);
      for (const std::string& name : names_in(waited.path() / folder)) {
        EXPECT_EQ(read_file(beside.path() / folder / name), read_file(waited.path() / folder / name)) << name;
      }
    }
  }
}

TEST(CheckpointWriterTest, NoCheckpointIsThereBeforeTheEnd) {
  TemporaryFolder folder;
  CheckpointRun run;
  run.save(folder.path(), 1);
  {
    CheckpointWriter writer(run.group);
    begin(writer, run, folder.path(), 2);
    while (!writer.is_written()) {
    }
    EXPECT_THAT(names_in(folder / "checkpoints"), ElementsAre(".tmp-step-00000002", "step-00000001"));
  }
  EXPECT_EQ(newest_checkpoint(folder.path()), checkpoint_path(folder.path(), 1));
  run.save(folder.path(), 3);
  EXPECT_THAT(names_in(folder / "checkpoints"), ElementsAre("step-00000001", "step-00000003"));
}

TEST(CheckpointWriterTest, FollowsAFolderThatWasRenamed) {
  TemporaryFolder folder;
  CheckpointRun run;
  CheckpointWriter writer(run.group);
  begin(writer, run, folder / "before", 1);
  while (!writer.is_written()) {
  }
  fs::rename(folder / "before", folder / "after");
  writer.finish(folder / "after");
  EXPECT_THAT(names_in(folder / "after/checkpoints"), ElementsAre("step-00000001"));
}

TEST(CheckpointWriterTest, AFailureComesAtTheEndAndLeavesTheOldCheckpoint) {
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  TemporaryFolder folder;
  CheckpointRun run({.keep = 1});
  CheckpointWriter writer(run.group);
  run.save(folder.path(), 1);
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small = {900, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  begin(writer, run, folder.path(), 2);
  const std::string message = error_of([&] { writer.finish(folder.path()); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, previous);
  EXPECT_THAT(message, AllOf(HasSubstr("shard-00000-of-00001"), HasSubstr("File too large")));
  EXPECT_FALSE(writer.is_under_way());
  EXPECT_THAT(names_in(folder / "checkpoints"), ElementsAre("step-00000001"));
  begin(writer, run, folder.path(), 3);
  writer.finish(folder.path());
  run.load(checkpoint_path(folder.path(), 3));
  EXPECT_TRUE(run.holds(3));
}

TEST(FreeSpace, IsNamedWhereItDoesNotDo) {
  TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { require_free_space(folder.path(), 1); }), "no error was thrown");
  EXPECT_THAT(error_of([&] { require_free_space(folder.path(), std::int64_t{1} << 60); }),
              AllOf(HasSubstr("no room for a checkpoint in"), HasSubstr("expected 1073741824.000 GiB")));
}

}  // namespace
}  // namespace mudelta::testing
