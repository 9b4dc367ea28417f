#include "launch/plan/hardware.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Hardware, BuiltInOneIsComplete) {
  const Hardware h100 = load_hardware("h100");
  EXPECT_TRUE(h100.has_within_node() && h100.has_between_nodes());
  EXPECT_EQ(matrix_rate(h100, DType::kBFloat16), 640e12);
  EXPECT_EQ(memory_rate(h100), 2800e9);
}

TEST(Hardware, FilesSayWhatIsWrong) {
  const TemporaryFolder folder;
  const auto load = [&](const std::string& text) {
    return [file = write_file(folder / "hardware.textproto", text).string()] { load_hardware(file); };
  };
  const std::string rates = "float32_tflops: 1 bfloat16_tflops: 2 memory_gb_per_second: 3 ";
  EXPECT_NO_THROW(load(rates + "memory_gib: 4")());
  EXPECT_THAT(load(rates), ThrowsMessage<Error>(HasSubstr("memory_gib is 0: expected more than 0")));
  EXPECT_THAT(load("memory_gb: 4"), ThrowsMessage<Error>(HasSubstr("hardware.textproto:1:")));
  EXPECT_THAT(load(rates + "memory_gib: 4 within_node { }"),
              ThrowsMessage<Error>(HasSubstr("within_node.gb_per_second")));
  EXPECT_THAT([] { load_hardware("b300"); }, ThrowsMessage<Error>(HasSubstr("--hardware is b300: expected h100")));
}

}  // namespace
}  // namespace mudelta::testing
