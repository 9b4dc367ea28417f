// The file system fails in each call of a save in turn: either the old checkpoint or the new one is there then, and
// whole.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "launch/checkpoint/checkpoint_folder.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/fault_shim.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

const std::string kNoError = "no error was thrown";

void save_beside(CheckpointRun& run, const fs::path& folder, std::int64_t step) {
  CheckpointWriter writer(run.group);
  run.fill(static_cast<std::uint64_t>(step));
  writer.begin(folder, run.context(), CheckpointRun::state_of(step), run.optimizer);
  writer.finish(folder);
}

struct Fault {
  std::string kind;
  bool training_waits;
};

class CheckpointFault : public ::testing::TestWithParam<Fault> {};

TEST_P(CheckpointFault, InAnyCallLeavesAWholeCheckpointAndAClearMessage) {
  const auto& [kind, waits] = GetParam();
  TemporaryFolder folder;
  CheckpointRun run({.keep = 1});
  run.save(folder.path(), 1);
  long calls = 1, failures = 0;
  for (std::int64_t step = 2, call = 1; call <= calls; ++step, ++call) {
    SCOPED_TRACE(fmt::format("{} in call {}", kind, call));
    arm_fault(folder.path().string(), kind, call);
    const std::string error =
        error_of([&] { waits ? run.save(folder.path(), step) : save_beside(run, folder.path(), step); });
    calls = std::max(calls, calls_that_count());
    arm_fault("", "", 0);

    const auto newest = newest_checkpoint(folder.path());
    ASSERT_TRUE(newest.has_value());
    const std::int64_t found = run.load(*newest).step();
    EXPECT_TRUE(run.holds(static_cast<std::uint64_t>(found)));
    if (error == kNoError) {
      EXPECT_EQ(found, step);
    } else {
      ++failures;
      EXPECT_THAT(found, AnyOf(step - 1, step));
      EXPECT_THAT(error, AnyOf(HasSubstr("No space left on device"), HasSubstr("Input/output error"),
                               HasSubstr("Interrupted system call")));
      EXPECT_THAT(error, HasSubstr(folder.path().string()));
    }
    if (found != step) run.save(folder.path(), step);  // for the next turn
  }
  EXPECT_GT(calls, kind == "SHORT" ? 2 : 20) << "the calls do not count";
  if (kind != "SHORT") {
    EXPECT_GT(failures, 10);
  } else {
    EXPECT_EQ(failures, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, CheckpointFault,
                         ::testing::Values(Fault{"ENOSPC", true}, Fault{"EIO", false}, Fault{"EINTR", false},
                                           Fault{"SHORT", true}));

}  // namespace
}  // namespace mudelta::testing
