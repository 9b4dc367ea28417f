#include "launch/plan/measured_hardware.h"

#include <gtest/gtest.h>

#include "dist/mpi.h"
#include "tests/launch/plan/plan_case.h"

namespace mudelta::testing {
namespace {

TEST(MeasuredHardware, IsCompleteAndAlikeOnAllRanks) {
  const ProcessGroup world = ProcessGroup::world();
  const Hardware hardware = measure_hardware(small_run(), world, Device());
  EXPECT_NO_THROW(validate(hardware));
  EXPECT_FALSE(hardware.gpu());
  EXPECT_EQ(hardware.devices_per_node(), world.size());
  EXPECT_EQ(hardware.has_within_node(), world.size() > 1);
  for (const std::string& other : world.all_gather(hardware.ShortDebugString())) {
    EXPECT_EQ(other, hardware.ShortDebugString());
  }
}

}  // namespace
}  // namespace mudelta::testing
