// Kills a process that saves one checkpoint after another, at moments spread over a save, and looks at what is left.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "launch/checkpoint/checkpoint_folder.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

const CheckpointRunOptions kOptions = {.keep = 1, .shapes = {{512, 1024}, {3}, {1000}}};

// Everything that may start OpenMP's threads runs in a child: threads do not survive a fork.
pid_t start(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const std::string message = error_of(body);
  ::_exit(message == "no error was thrown" ? 0 : 1);
}

bool runs_well(const std::function<void()>& body) {
  int status = 0;
  const pid_t child = start(body);
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool has_leftovers(const TemporaryFolder& folder) {
  const std::vector<std::string> names = names_in(folder / "checkpoints");
  return std::ranges::any_of(names, [](const std::string& name) { return name.starts_with('.'); });
}

void save(CheckpointRun& run, const std::filesystem::path& folder, std::int64_t step) { run.save(folder, step); }

void save_beside(CheckpointRun& run, const std::filesystem::path& folder, std::int64_t step) {
  CheckpointWriter writer(run.group);
  run.fill(static_cast<std::uint64_t>(step));
  writer.begin(folder, run.context(), CheckpointRun::state_of(step), run.optimizer);
  run.fill(99);
  writer.finish(folder);
}

class CheckpointKillTest : public ::testing::TestWithParam<decltype(&save)> {};

TEST_P(CheckpointKillTest, AKillAtAnyMomentLeavesAWholeCheckpoint) {
  const auto save = GetParam();
  constexpr int kKills = 12, kMaxKills = 1000;
  using Clock = std::chrono::steady_clock;
  TemporaryFolder timing;
  const auto began = Clock::now();
  ASSERT_TRUE(runs_well([&] {
    CheckpointRun run(kOptions);
    for (int step = 1; step <= 5; ++step) save(run, timing.path(), step);
  }));
  const auto save_time = (Clock::now() - began) / 5;

  int num_with_leftovers = 0;
  for (int i = 0; i < kKills || (num_with_leftovers == 0 && i < kMaxKills); ++i) {
    TemporaryFolder folder;
    const pid_t child = start([&] {
      CheckpointRun run(kOptions);
      for (int step = 1;; ++step) save(run, folder.path(), step);
    });
    while (list_checkpoints(folder.path()).empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(save_time * (i % kKills) * 2 / kKills);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    num_with_leftovers += has_leftovers(folder);

    const std::vector<CheckpointFolder> left = list_checkpoints(folder.path());
    ASSERT_FALSE(left.empty());
    for (const CheckpointFolder& checkpoint : left) {
      EXPECT_TRUE(runs_well([&] {
        CheckpointRun run(kOptions);
        require(run.load(checkpoint.path).step() == checkpoint.step, "another step");
        require(bool(run.holds(static_cast<std::uint64_t>(checkpoint.step))), "other bits");
      })) << checkpoint.path;
    }
    EXPECT_EQ(newest_checkpoint(folder.path()), left.back().path);
    // The next save goes on from there and clears the leftovers.
    EXPECT_TRUE(runs_well([&] { CheckpointRun(kOptions).save(folder.path(), left.back().step + 1); }));
    EXPECT_EQ(list_checkpoints(folder.path()).size(), 1u);
    EXPECT_FALSE(has_leftovers(folder));
  }
  EXPECT_GT(num_with_leftovers, 0) << "no kill came in the middle of a save";
}

INSTANTIATE_TEST_SUITE_P(Saves, CheckpointKillTest, ::testing::Values(&save, &save_beside));

}  // namespace
}  // namespace mudelta::testing
