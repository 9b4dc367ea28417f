#include "core/dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

using ::testing::HasSubstr;

std::uint16_t rounded_bits(std::uint32_t float_bits) { return bfloat16(std::bit_cast<float>(float_bits)).bits; }

TEST(BFloat16, KeepsWhatFits) {
  EXPECT_EQ(bfloat16(0.0f).bits, 0x0000);
  EXPECT_EQ(bfloat16(-0.0f).bits, 0x8000);
  EXPECT_EQ(bfloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(bfloat16(-2.5f).bits, 0xc020);
  EXPECT_EQ(bfloat16(std::numeric_limits<float>::min()).bits, 0x0080);
  EXPECT_EQ(rounded_bits(0x00010000), 0x0001);  // subnormal
}

TEST(BFloat16, RoundsToNearest) {
  EXPECT_EQ(rounded_bits(0x3f807fff), 0x3f80);
  EXPECT_EQ(rounded_bits(0x3f808001), 0x3f81);
  EXPECT_EQ(rounded_bits(0xbf807fff), 0xbf80);
  EXPECT_EQ(rounded_bits(0xbf808001), 0xbf81);
}

TEST(BFloat16, TiesGoToEven) {
  EXPECT_EQ(rounded_bits(0x3f808000), 0x3f80);
  EXPECT_EQ(rounded_bits(0x3f818000), 0x3f82);
  EXPECT_EQ(rounded_bits(0xbf808000), 0xbf80);
  EXPECT_EQ(rounded_bits(0xbf818000), 0xbf82);
  EXPECT_EQ(rounded_bits(0x00008000), 0x0000);  // half of the smallest subnormal
  EXPECT_EQ(rounded_bits(0x3fff8000), 0x4000);  // the carry reaches the exponent
}

TEST(BFloat16, OverflowsToInfinity) {
  EXPECT_EQ(rounded_bits(0x7f7f7fff), 0x7f7f);  // just below the tie above the largest value
  EXPECT_EQ(rounded_bits(0x7f7f8000), 0x7f80);
  EXPECT_EQ(bfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(bfloat16(-std::numeric_limits<float>::max()).bits, 0xff80);
  EXPECT_EQ(bfloat16(std::numeric_limits<float>::infinity()).bits, 0x7f80);
  EXPECT_EQ(bfloat16(-std::numeric_limits<float>::infinity()).bits, 0xff80);
}

TEST(BFloat16, NanStaysNan) {
  for (const std::uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    const bfloat16 rounded(std::bit_cast<float>(bits));
    EXPECT_TRUE(std::isnan(static_cast<float>(rounded))) << std::hex << bits;
    EXPECT_EQ(rounded.bits >> 15, bits >> 31) << "the sign of " << std::hex << bits;
  }
}

TEST(BFloat16, EveryValueSurvivesFloat) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    bfloat16 value;
    value.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(value);
    EXPECT_TRUE(bfloat16(wide).bits == bits || std::isnan(wide)) << std::hex << bits;
  }
}

RC_GTEST_PROP(BFloat16, IsTheNearestOfItsNeighbours, (std::uint32_t bits)) {
  const auto value = std::bit_cast<float>(bits);
  RC_PRE(std::abs(value) < 3e38f);
  const double error = std::abs(double{static_cast<float>(bfloat16(value))} - value);
  bfloat16 below, above;
  below.bits = static_cast<std::uint16_t>(bits >> 16);
  above.bits = static_cast<std::uint16_t>(below.bits + 1);
  RC_ASSERT(error <= std::abs(double{static_cast<float>(below)} - value));
  RC_ASSERT(error <= std::abs(double{static_cast<float>(above)} - value));
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(DType::kFloat32), 4);
  EXPECT_EQ(size_of(DType::kBFloat16), 2);
  EXPECT_EQ(size_of(DType::kInt32), 4);
  EXPECT_EQ(name_of(DType::kFloat32), "float32");
  EXPECT_EQ(name_of(DType::kBFloat16), "bfloat16");
  EXPECT_EQ(name_of(DType::kInt32), "int32");
}

TEST(DType, DispatchCallsTheFloatingType) {
  const auto size = [](DType dtype) { return dispatch_float(dtype, []<class T>() { return sizeof(T); }); };
  EXPECT_EQ(size(DType::kFloat32), 4u);
  EXPECT_EQ(size(DType::kBFloat16), 2u);
  EXPECT_THAT(testing::error_of([&] { size(DType::kInt32); }), HasSubstr("int32"));
}

}  // namespace
}  // namespace mudelta
