// The life of a NCCL communicator, with a NCCL that needs no GPU (fake_nccl.cpp).

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/error.h"
#include "dist/nccl_backend.h"
#include "dist/process_group_backend.h"
#include "tests/dist/fake_nccl.h"

namespace mudelta {
namespace {

// Rank 1 of two, alone.
class HostGroup final : public ProcessGroup::Backend {
 public:
  int rank() const override { return 1; }
  int size() const override { return 2; }
  std::string transport() const override { return "none"; }
  std::shared_ptr<const Backend> split(int, int) const override { return nullptr; }
  void all_reduce(const Tensor&, ReduceOp, Stream) const override {}
  void reduce_scatter(const Tensor&, const Tensor&, Stream) const override {}
  void all_gather(const Tensor&, const Tensor&, Stream) const override {}
  void broadcast(const Tensor&, int, Stream) const override {}
  void all_to_all(const Tensor&, const Tensor&, Stream) const override {}
  void send(const Tensor&, int, Stream) const override {}
  void receive(const Tensor&, int, Stream) const override {}
  void barrier() const override {}
  bool barrier_within(double) const override { return true; }
  std::vector<double> all_gather(const std::vector<double>& values) const override {
    std::vector<double> all = values;
    all.insert(all.end(), values.begin(), values.end());
    return all;
  }
  std::vector<std::string> all_gather(const std::string& value) const override { return {value, value}; }
};

std::shared_ptr<const ProcessGroup::Backend> backend() { return nccl_backend(std::make_shared<HostGroup>()); }

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
