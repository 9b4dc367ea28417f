// What the timer of steps makes of collectives on a device. Run under mpirun with two ranks.

#include <gtest/gtest.h>

#include <optional>

#include "dist/device_placement.h"
#include "launch/train/step_timer.h"
#include "tests/support/device.h"

namespace mudelta {
namespace {

class StepTimerOnDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpu::devices().empty()) GTEST_SKIP() << "no GPU: " << gpu::description();
    place_on_devices(hosts_);
    world_ = hosts_.on_devices(DeviceTransport::kHost);
    timer_.emplace(Stream(Device::cuda()), world_);
    tensor_ = Tensor::zeros({1000}, DType::kFloat32, Device::cuda());
  }

  // One of a group that was split from the world.
  void communicate(Stream stream) const { world_.split(0, world_.rank()).all_reduce(tensor_, ReduceOp::kSum, stream); }

  // Of a step that does `body` in its forward and backward pass.
  template <class Body>
  StepSeconds step(const Body& body) {
    timer_->start_step();
    body();
    timer_->end(&StepSeconds::forward_backward);
    tensor_.fill_zero();
    timer_->end_step(&StepSeconds::update);
    communicate(stream());  // an evaluation, for one: no part of a step
    timer_->start_step();
    timer_->end_step(&StepSeconds::update);
    stream().synchronize();
    return timer_->take();
  }
  static Stream stream() { return Stream(Device::cuda()); }

  const ProcessGroup hosts_ = ProcessGroup::world();
  ProcessGroup world_ = ProcessGroup::single();
  std::optional<StepTimer> timer_;
  Tensor tensor_;
};

TEST_F(StepTimerOnDevice, CollectivesInTheComputeStreamAreExposed) {
  const StepSeconds seconds = step([&] {
    tensor_.fill_zero();
    communicate(stream());
    tensor_.fill_zero();
    communicate(stream());
  });
  EXPECT_GT(seconds.communication, 0);
  EXPECT_GT(seconds.forward_backward, 0);
  EXPECT_GT(seconds.update, 0);
  EXPECT_EQ(seconds.data, 0);
  EXPECT_GT(seconds.collectives, 0);
}

TEST_F(StepTimerOnDevice, ThoseBesideItAreNot) {
  const SideStream side(Device::cuda());
  const StepSeconds seconds = step([&] { communicate(side); });
  EXPECT_EQ(seconds.communication, 0);
  EXPECT_GT(seconds.collectives, 0);
  EXPECT_GT(seconds.forward_backward, 0);
}

}  // namespace
}  // namespace mudelta
