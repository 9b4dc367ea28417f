#include "launch/job/agreement.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <stdexcept>
#include <string>

#include "core/host_name.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

template <class Body>
std::string shared_error_of(const Body& body) {
  try {
    run_or_fail_together(ProcessGroup::world(), body);
  } catch (const SharedError& error) {
    return error.what();
  }
  return "no error was thrown";
}

TEST(Agreement, WithoutFailureNothingIsThrown) {
  int calls = 0;
  run_or_fail_together(ProcessGroup::world(), [&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(Agreement, AFailureOfOneRankIsOneOfAll) {
  const ProcessGroup world = ProcessGroup::world();
  const int last = world.size() - 1;
  const std::string error = shared_error_of([&] {
    if (world.rank() == last) fail("disk of rank {} is full", last);
  });
  EXPECT_EQ(error, fmt::format("{}disk of rank {} is full", last > 0 ? fmt::format("rank {}: ", last) : "", last));
  EXPECT_EQ(world.all_reduce(1.0, ReduceOp::kSum), world.size());  // the ranks are still in step
}

TEST(Agreement, AFailureOfAllRanksAlikeIsToldOnce) {
  EXPECT_EQ(shared_error_of([] { fail("no such field"); }), "no such field");
}

TEST(Agreement, OtherExceptionsAreFailuresToo) {
  EXPECT_EQ(shared_error_of([] { throw std::runtime_error(""); }), "an error without a message");
}

TEST(Agreement, TextsThatDifferNameTheRankAndTheLine) {
  const ProcessGroup world = ProcessGroup::world();
  require_alike(world, "configuration", "lr: 1\nseed: 2\n");
  if (world.size() == 1) return;
  const std::string own = world.rank() == 1 ? "lr: 1\nseed: 3\n" : "lr: 1\nseed: 2\n";
  EXPECT_EQ(testing::error_of([&] { require_alike(world, "configuration", own); }),
            fmt::format("rank 1: the configuration on {} has the line `seed: 3`, expected `seed: 2` as on rank 0",
                        host_name()));
}

TEST(Agreement, AFolderOfOneHostIsNotShared) {
  const ProcessGroup world = ProcessGroup::world();
  const testing::TemporaryFolder own;
  const std::string shared = world.all_gather(own.path().string()).front();
  require_shared_folder(world, shared);
  EXPECT_TRUE(std::filesystem::is_empty(shared));
  world.barrier();
  if (world.size() == 1) return;
  EXPECT_THAT(
      testing::error_of([&] { require_shared_folder(world, own.path()); }),
      ::testing::AllOf(::testing::StartsWith("rank 1: "), ::testing::HasSubstr(" is not the folder that rank 0")));
}

}  // namespace
}  // namespace mudelta
