// Bounds as AddressSanitizer sees them, in builds with it.
#include <gtest/gtest.h>

#include "kernels/cuda/simt.h"
#include "tests/simt/device_array.h"

namespace mudelta::kernels::cuda {
namespace {

TEST(BoundsDeathTest, SharedMemory) {
  const auto write_at = [](int i) {
    launch(
        +[](int index) { dynamic_shared<float>()[index] = 1; }, dim3(1), 1, 36, Stream(Device::cuda()), i);
  };
  write_at(8);
  EXPECT_DEATH(write_at(9), "AddressSanitizer: use-after-poison");
  EXPECT_DEATH(write_at(-1), "AddressSanitizer: use-after-poison");
}

TEST(BoundsDeathTest, DeviceMemory) {
  const testing::DeviceArray<float> x(9);
  const auto write_at = [&](int i) {
    launch(
        +[](float* to) { *to = 1; }, dim3(1), 1, 0, Stream(Device::cuda()), x.data() + i);
  };
  write_at(8);
  EXPECT_DEATH(write_at(9), "AddressSanitizer: use-after-poison");
  EXPECT_DEATH(write_at(-1), "AddressSanitizer: use-after-poison");
}

}  // namespace
}  // namespace mudelta::kernels::cuda
