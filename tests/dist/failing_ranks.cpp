// Jobs in which one rank goes wrong; failures.sh runs each under two ranks and expects the job to fail.

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "dist/mpi.h"
#include "dist/process_group.h"
#include "dist/watchdog.h"

namespace mudelta {
namespace {

TEST(Rank1, Passes) {}

TEST(Rank1, Expects) { EXPECT_EQ(ProcessGroup::world().rank(), 0); }

TEST(Rank1, AssertsWhileOthersWait) {
  const ProcessGroup world = ProcessGroup::world();
  ASSERT_EQ(world.rank(), 0);
  world.barrier();
}

TEST(Rank1, ThrowsWhileOthersWait) {
  const ProcessGroup world = ProcessGroup::world();
  require(world.rank() == 0, "thrown by rank {}", world.rank());
  world.barrier();
}

TEST(Rank1, AbortsTheJob) {
  const ProcessGroup world = ProcessGroup::world();
  if (world.rank() == 1) abort_job(7);
  world.barrier();
}

TEST(Rank1, StaysAwayWhileOthersWait) {
  const ProcessGroup world = ProcessGroup::world();
  world.barrier();  // however long the others take to get here
  limit_mpi_calls(1);
  while (world.rank() == 1) pause();
  world.barrier();
}

// In check_collectives() mode, which knows more to say.
TEST(Checked, Rank1LeavesACollectiveOut) {
  const ProcessGroup world = ProcessGroup::world();
  world.check_collectives();
  world.barrier();
  limit_mpi_calls(1);
  while (world.rank() == 1) pause();
  world.named("tensor").all_reduce(Tensor::zeros({3}), ReduceOp::kSum, Stream());
}

TEST(Checked, RanksTakeTwoGroupsInDifferentOrders) {
  const ProcessGroup world = ProcessGroup::world();
  const ProcessGroup a = world.split(0, world.rank()).named("tensor"), b = world.split(0, world.rank()).named("data");
  world.check_collectives();
  world.barrier();
  limit_mpi_calls(1);
  (world.rank() == 0 ? a : b).barrier();
  (world.rank() == 0 ? b : a).barrier();
}

}  // namespace
}  // namespace mudelta
