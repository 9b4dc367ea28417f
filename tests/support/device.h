#pragma once

#include <gtest/gtest.h>

#include "core/device.h"

namespace mudelta::testing {

#ifdef MUDELTA_EMULATED
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

// The device that a device test runs on: a GPU, or the emulator.
inline Device device() { return Device::cuda(); }

// Chooses the device; skips, saying why, where there is none.
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpu::devices().empty()) GTEST_SKIP() << "no GPU: " << gpu::description();
    gpu::use_device(0);
  }
};

}  // namespace mudelta::testing
