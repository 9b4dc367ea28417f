// Fragment layouts against the tables of the PTX manual, section "Warp-level matrix instructions": written from those,
// not from the emulator. Integers small enough that every sum is exact.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cuda/simt.h"
#include "tests/simt/device_array.h"
#include "tests/support/errors.h"

namespace mudelta::kernels::cuda {
namespace {

using testing::DeviceArray;
using testing::error_of;

std::vector<float> integers(int count, int seed) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>((i * 7 + seed * 13 + i / 5) % 31 - 15));
  return values;
}

std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c,
                           int k) {
  std::vector<float> sum = c;
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      for (int l = 0; l < k; ++l) {
        sum[static_cast<std::size_t>(i * 8 + j)] +=
            a[static_cast<std::size_t>(i * k + l)] * b[static_cast<std::size_t>(l * 8 + j)];
      }
    }
  }
  return sum;
}

// "Matrix Fragments for mma.m16n8k16 with floating point type": elements a0..a7, b0..b3, c0..c3.
__global__ void multiply_bfloat16(const float* a, const float* b, float* c) {
  const int group = lane_index() >> 2, in_group = lane_index() % 4;
  float a_element[8], b_element[4], c_part[4];
  for (int i = 0; i < 8; ++i) {
    const int row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
    const int column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    a_element[i] = a[row * 16 + column];
  }
  for (int i = 0; i < 4; ++i) b_element[i] = b[(in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0)) * 8 + group];
  for (int i = 0; i < 4; ++i) c_part[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  std::uint32_t a_part[4], b_part[2];
  for (int i = 0; i < 4; ++i) a_part[i] = pack_bfloat16(a_element[2 * i], a_element[2 * i + 1]);
  for (int i = 0; i < 2; ++i) b_part[i] = pack_bfloat16(b_element[2 * i], b_element[2 * i + 1]);
  mma_bfloat16(c_part, a_part, b_part);
  for (int i = 0; i < 4; ++i) c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = c_part[i];
}

TEST(Fragments, MmaBFloat16) {
  const auto a = integers(256, 1), b = integers(128, 2), c = integers(128, 3);
  const DeviceArray<float> device_a(a), device_b(b), device_c(c);
  launch(multiply_bfloat16, dim3(1), 32, 0, Stream(Device::cuda()), device_a.data(), device_b.data(), device_c.data());
  EXPECT_EQ(device_c.values(), product(a, b, c, 16));
}

// "Matrix Fragments for mma.m16n8k8", .tf32.
__global__ void multiply_tf32(const float* a, const float* b, float* c) {
  const int group = lane_index() >> 2, in_group = lane_index() % 4;
  std::uint32_t a_part[4], b_part[2];
  float c_part[4];
  for (int i = 0; i < 4; ++i) {
    const int row = i == 0 || i == 2 ? group : group + 8;
    const int column = i < 2 ? in_group : in_group + 4;
    a_part[i] = to_tf32(a[row * 8 + column]);
  }
  for (int i = 0; i < 2; ++i) b_part[i] = to_tf32(b[(i == 0 ? in_group : in_group + 4) * 8 + group]);
  for (int i = 0; i < 4; ++i) c_part[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  mma_tf32(c_part, a_part, b_part);
  for (int i = 0; i < 4; ++i) c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = c_part[i];
}

TEST(Fragments, MmaTf32) {
  const auto a = integers(128, 4), b = integers(64, 5), c = integers(128, 6);
  const DeviceArray<float> device_a(a), device_b(b), device_c(c);
  launch(multiply_tf32, dim3(1), 32, 0, Stream(Device::cuda()), device_a.data(), device_b.data(), device_c.data());
  EXPECT_EQ(device_c.values(), product(a, b, c, 8));
}

TEST(Fragments, MmaTf32IgnoresTheLowBitsOfItsOperands) {
  const DeviceArray<float> c(std::vector<float>(4, 0.0f));
  launch(
      +[](float* out) {
        float sum[4] = {0, 0, 0, 0};
        const std::uint32_t unrounded = reinterpret_as_bits(1.0f) | 0x1fffu;
        mma_tf32(sum, {unrounded, unrounded, unrounded, unrounded}, {unrounded, unrounded});
        if (lane_index() == 0) out[0] = sum[0];
      },
      dim3(1), 32, 0, Stream(Device::cuda()), c.data());
  EXPECT_EQ(c.values()[0], 8.0f);
}

constexpr int kStride = 24;  // of a row in elements: 16-byte aligned, and not the matrix alone

// r of every lane for matrices whose element (row, column) of matrix m is 64 m + 8 row + column.
template <int kMatrices, bool kTransposed>
__global__ void load(std::uint32_t* out) {
  auto* matrices = dynamic_shared<std::uint16_t>();
  for (int i = lane_index(); i < 64 * kMatrices; i += kWarpSize) {
    matrices[(i / 8) * kStride + i % 8] = static_cast<std::uint16_t>(i);
  }
  __syncwarp();
  const void* row = matrices + (lane_index() % (8 * kMatrices)) * kStride;
  std::uint32_t r[kMatrices];
  if constexpr (kMatrices == 4 && kTransposed) load_matrix_x4_transposed(r, row);
  if constexpr (kMatrices == 4 && !kTransposed) load_matrix_x4(r, row);
  if constexpr (kMatrices == 2 && kTransposed) load_matrix_x2_transposed(r, row);
  if constexpr (kMatrices == 2 && !kTransposed) load_matrix_x2(r, row);
  for (int i = 0; i < kMatrices; ++i) out[lane_index() * kMatrices + i] = r[i];
}

template <int kMatrices, bool kTransposed>
void expect_loads() {
  const DeviceArray<std::uint32_t> out(32 * kMatrices);
  launch(load<kMatrices, kTransposed>, dim3(1), 32, 8 * kMatrices * kStride * 2, Stream(Device::cuda()), out.data());
  const auto loaded = out.values();
  // "Each row of the matrix: 4 consecutive threads hold it": lane l has row l / 4, elements 2 (l % 4) and the next.
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < kMatrices; ++m) {
      const int row = lane / 4, column = 2 * (lane % 4);
      const int first = kTransposed ? 8 * column + row : 8 * row + column;
      const int second = kTransposed ? 8 * (column + 1) + row : 8 * row + column + 1;
      const auto expected = static_cast<std::uint32_t>(64 * m + first) | static_cast<std::uint32_t>(64 * m + second)
                                                                             << 16;
      EXPECT_EQ(loaded[static_cast<std::size_t>(lane * kMatrices + m)], expected)
          << "lane " << lane << ", matrix " << m;
    }
  }
}

TEST(Fragments, LoadMatrix) {
  expect_loads<4, false>();
  expect_loads<4, true>();
  expect_loads<2, false>();
  expect_loads<2, true>();
}

TEST(Fragments, LoadMatrixRefusesMisalignedAndOutsideRows) {
  const auto load_from = [](int byte) {
    return error_of([&] {
      launch(
          +[](int offset) {
            std::uint32_t r[4];
            load_matrix_x4(r, dynamic_shared<unsigned char>() + offset);
          },
          dim3(1), 32, 1024, Stream(Device::cuda()), byte);
    });
  };
  EXPECT_EQ(load_from(1008), "no error was thrown");
  EXPECT_NE(load_from(8).find("is not aligned to 16 bytes"), std::string::npos) << load_from(8);
  EXPECT_NE(load_from(1024).find("at byte 1024 of 1024 bytes"), std::string::npos) << load_from(1024);
}

TEST(Fragments, MmaNeedsWholeWarps) {
  const std::string error = error_of([] {
    launch(
        +[] {
          float c[4] = {};
          mma_bfloat16(c, {0, 0, 0, 0}, {0, 0});
        },
        dim3(1), 48, 0, Stream(Device::cuda()));
  });
  EXPECT_NE(error.find("mma_bfloat16 needs 32 threads in every warp"), std::string::npos) << error;
}

TEST(Fragments, Rounding) {
  EXPECT_EQ(reinterpret_as_float(to_tf32(1.0f + 0x1p-11f)), 1.0f + 0x1p-10f) << "ties go away from zero";
  EXPECT_EQ(reinterpret_as_float(to_tf32(-1.0f - 0x1p-11f)), -1.0f - 0x1p-10f);
  EXPECT_EQ(reinterpret_as_float(to_tf32(1.0f + 0x1p-12f)), 1.0f);
  EXPECT_EQ(reinterpret_as_float(to_tf32(std::numeric_limits<float>::infinity())),
            std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(reinterpret_as_float(to_tf32(std::nanf("")))));
  EXPECT_EQ(pack_bfloat16(1.0f + 0x1p-8f, -2.0f), 0xc0003f80u) << "ties go to even; the first one in the lower half";
  EXPECT_EQ(low_float(0xc0003f80u), 1.0f);
  EXPECT_EQ(high_float(0xc0003f80u), -2.0f);
  EXPECT_EQ(to_float(from_float<bfloat16>(1.0f + 0x1.8p-7f)), 1.0f + 0x1p-6f);
  EXPECT_EQ(fast_exp2(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(fast_reciprocal(-0.5f), -2.0f);
}

}  // namespace
}  // namespace mudelta::kernels::cuda
