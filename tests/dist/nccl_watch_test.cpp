// The life of a NCCL communicator, with a NCCL that needs no GPU (fake_nccl.cpp).

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/error.h"
#include "dist/nccl_backend.h"
#include "tests/dist/fake_nccl.h"
#include "tests/dist/host_group.h"

namespace mudelta {
namespace {

// Rank 1 of two, alone.
std::shared_ptr<const ProcessGroup::Backend> backend() {
  return nccl_backend(std::make_shared<testing::HostGroup>(1, 2));
}

void live_for(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

TEST(NcclCommunicator, IsDestroyedWithItsGroup) {
  {
    const auto group = backend();
    EXPECT_EQ(group->transport(), "NCCL");
    EXPECT_EQ(testing::fake_nccl::communicators, 1);
    live_for(std::chrono::milliseconds(1200));  // the watch has looked, and seen nothing
  }
  EXPECT_EQ(testing::fake_nccl::communicators, 0);
}

TEST(NcclCommunicator, IsLeftToTheEndOfAFailingRank) {
  const int before = testing::fake_nccl::communicators;
  try {
    const auto group = backend();
    throw Error("out of memory");
  } catch (const Error&) {
    EXPECT_EQ(testing::fake_nccl::communicators, before + 1);
  }
}

TEST(NcclCommunicatorDeathTest, EndsTheProcessOnceARankIsLost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const auto group = backend();
        testing::fake_nccl::lose_a_rank();
        live_for(std::chrono::minutes(30));
      },
      ::testing::ExitedWithCode(1), "\\[rank 1\\] NCCL failed: remote process exited.*the fake link is down");
}

}  // namespace
}  // namespace mudelta
