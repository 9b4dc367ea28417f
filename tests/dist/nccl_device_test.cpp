// NCCL with one rank, whose collectives copy: that it starts, keeps to streams, can be captured, is watched, and ends.
// (A world of one process has no NCCL.) On the emulator with a NCCL that needs no GPU (fake_nccl.cpp).

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/graph.h"
#include "dist/nccl_backend.h"
#include "tests/dist/host_group.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/random.h"

namespace mudelta::testing {
namespace {

class NcclOnDevice : public DeviceTest {
 protected:
  static std::shared_ptr<const ProcessGroup::Backend> start() {
    return nccl_backend(std::make_shared<HostGroup>(0, 1));
  }
};

TEST_F(NcclOnDevice, ReducesOnASideStreamAndInACapture) {
  const auto nccl = start();
  const Stream compute(device());
  const SideStream own(device());
  const Stream side = own;
  const Tensor input = Tensor::zeros({1000}, DType::kFloat32, device()), output = input.clone();
  Graph graph(compute);
  for (int i = 1; i <= 4; ++i) {
    const Tensor host = random_normal({1000}, "x", 1, i);
    input.copy_from(host);
    output.fill_zero();
    graph.run([&] {
      output.copy_from(input);
      side.wait_for(compute);
      nccl->all_reduce(output, ReduceOp::kSum, side);
      compute.wait_for(side);
    });
    EXPECT_TRUE(same_bits(output.to(Device()), host)) << "call " << i;
  }
}

TEST_F(NcclOnDevice, IsWatchedAndStartsAgain) {
  for (int i = 0; i < 2; ++i) {
    const auto nccl = start();
    const Tensor x = random_normal({100}, "x"), there = x.to(device());
    nccl->all_reduce(there, ReduceOp::kSum, Stream(device()));
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // the watch has looked, and seen nothing
    EXPECT_TRUE(same_bits(there.to(Device()), x));
  }
}

// As a bucket of gradients may have. 9 GB.
TEST_F(NcclOnDevice, ReducesMoreElementsThanAnIntCounts) {
  constexpr std::int64_t kEnd = 1000, kElements = kEmulated ? 5000 : (std::int64_t{1} << 31) + kEnd;
  if (gpu::devices()[0].memory_bytes < 5 * kElements) GTEST_SKIP() << "takes " << 5 * kElements << " bytes";
  const auto nccl = start();
  const Tensor many = Tensor::zeros({kElements}, DType::kFloat32, device()), end = random_normal({kEnd}, "x");
  many.slice(kElements - kEnd, kElements).copy_from(end);
  nccl->all_reduce(many, ReduceOp::kSum, Stream(device()));
  EXPECT_TRUE(same_bits(many.slice(kElements - kEnd, kElements).to(Device()), end));
}

}  // namespace
}  // namespace mudelta::testing
