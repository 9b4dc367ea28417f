// Every race is reported, and its repaired twin is clean.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/cuda/simt.h"
#include "tests/simt/device_array.h"
#include "tests/support/errors.h"

namespace mudelta::kernels::cuda {
namespace {

using testing::DeviceArray;
using testing::error_of;

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

const std::string kClean = "no error was thrown";

template <class... Parameters, class... Arguments>
std::string error_of_launch(void (*kernel)(Parameters...), dim3 grid, int block, Arguments... arguments) {
  return error_of([&] { launch(kernel, grid, block, 4096, Stream(Device::cuda()), arguments...); });
}

enum class Order { kNone, kShuffle, kHalfWarps, kWarp, kBlock };

template <Order kOrder>
__device__ __forceinline__ void synchronize() {
  if (kOrder == Order::kShuffle) __shfl_xor_sync(kAllLanes, 0, 1);
  if (kOrder == Order::kHalfWarps) __syncwarp(lane_index() < 16 ? 0x0000ffffu : 0xffff0000u);
  if (kOrder == Order::kWarp) __syncwarp();
  if (kOrder == Order::kBlock) __syncthreads();
}

// Every thread reads what the thread `distance` away has written.
template <Order kOrder>
__global__ void exchange(float* out, int distance) {
  float* shared = dynamic_shared<float>();
  const int i = static_cast<int>(threadIdx.x);
  shared[i] = static_cast<float>(i);
  synchronize<kOrder>();
  out[i] = shared[i ^ distance];
}

// Every thread overwrites what the thread `distance` away has read.
template <Order kOrder>
__global__ void overwrite(float* out, int distance) {
  float* shared = dynamic_shared<float>();
  const int i = static_cast<int>(threadIdx.x);
  shared[i] = 1;
  __syncthreads();
  out[i] = shared[i];
  synchronize<kOrder>();
  shared[i ^ distance] = 2;
}

template <Order kOrder>
void expect_orders(int distance, bool orders) {
  const DeviceArray<float> out(64);
  for (const auto kernel : {exchange<kOrder>, overwrite<kOrder>}) {
    const std::string error = error_of_launch(kernel, dim3(1), 64, out.data(), distance);
    if (orders) {
      EXPECT_EQ(error, kClean);
    } else {
      EXPECT_CONTAINS(error, "race on byte ");
      EXPECT_CONTAINS(error, "of shared memory");
    }
  }
}

TEST(Race, LanesOfAWarp) {
  expect_orders<Order::kNone>(1, false);
  expect_orders<Order::kShuffle>(1, false);
  expect_orders<Order::kHalfWarps>(1, true);
  expect_orders<Order::kWarp>(1, true);
  expect_orders<Order::kBlock>(1, true);
}

TEST(Race, HalvesOfAWarp) {
  expect_orders<Order::kHalfWarps>(16, false);
  expect_orders<Order::kWarp>(16, true);
}

TEST(Race, Warps) {
  expect_orders<Order::kNone>(32, false);
  expect_orders<Order::kWarp>(32, false);
  expect_orders<Order::kBlock>(32, true);
}

__global__ void store_lane_of_every_warp(float* out) { out[lane_index()] = 1; }

TEST(Race, ReportNamesBothThreadsAndPlaces) {
  const simt::ScopedSchedule schedule("ascending");
  const DeviceArray<float> out(64);
  const std::string error = error_of_launch(store_lane_of_every_warp, dim3(1), 64, out.data());
  EXPECT_CONTAINS(error, "store_lane_of_every_warp, block (0, 0, 0), thread 32: race on byte 0 of a device allocation");
  EXPECT_CONTAINS(error, "of 256 bytes: writes (at race_test.cpp:");
  EXPECT_CONTAINS(error, "what thread 0 wrote (at race_test.cpp:");
}

TEST(Race, ManyReadersThenAWriter) {
  const DeviceArray<float> out(64);
  const auto racy = +[](float* x) {
    float* shared = dynamic_shared<float>();
    if (threadIdx.x == 0) shared[0] = 1;
    __syncthreads();
    x[threadIdx.x] = shared[0];
    if (threadIdx.x == 63) shared[0] = 2;
  };
  const auto clean = +[](float* x) {
    float* shared = dynamic_shared<float>();
    if (threadIdx.x == 0) shared[0] = 1;
    __syncthreads();
    x[threadIdx.x] = shared[0];
    __syncthreads();
    if (threadIdx.x == 63) shared[0] = 2;
  };
  EXPECT_CONTAINS(error_of_launch(racy, dim3(1), 64, out.data()), "race on byte 0 of shared memory");
  EXPECT_EQ(error_of_launch(clean, dim3(1), 64, out.data()), kClean);
}

// Barrier 1 orders the warps that take part in it and no others.
template <int kReader>
__global__ void read_behind_named_barrier(float* out) {
  float* shared = dynamic_shared<float>();
  if (warp_index() == 0) shared[lane_index()] = 1;
  if (warp_index() < 2) sync_threads(1, 64);
  if (warp_index() == kReader) out[lane_index()] = shared[31 - lane_index()];
}

TEST(Race, NamedBarriers) {
  const DeviceArray<float> out(32);
  EXPECT_EQ(error_of_launch(read_behind_named_barrier<1>, dim3(1), 96, out.data()), kClean);
  EXPECT_CONTAINS(error_of_launch(read_behind_named_barrier<2>, dim3(1), 96, out.data()), "race on byte");
}

// Warps 0 and 1 read what warp 2 then overwrites; warp 1 takes part in their barrier or does not.
template <bool kBothWait>
__global__ void overwrite_behind_named_barrier(float* out) {
  float* shared = dynamic_shared<float>();
  if (threadIdx.x == 0) shared[0] = 1;
  __syncthreads();
  if (warp_index() < 2) out[threadIdx.x] = shared[0];
  if (warp_index() != 1 || kBothWait) sync_threads(1, kBothWait ? 96 : 64);
  if (threadIdx.x == 64) shared[0] = 2;
}

TEST(Race, AWriterMustWaitForReadersOfAllWarps) {
  const DeviceArray<float> out(64);
  for (const char* order : {"ascending", "descending", "random:1"}) {
    const simt::ScopedSchedule schedule(order);
    EXPECT_EQ(error_of_launch(overwrite_behind_named_barrier<true>, dim3(1), 96, out.data()), kClean);
    EXPECT_CONTAINS(error_of_launch(overwrite_behind_named_barrier<false>, dim3(1), 96, out.data()), "race on byte 0");
  }
}

// What warp 0 tells warp 1, and warp 1 then tells warp 2, warp 2 has been told.
__global__ void pass_on(float* out) {
  float* shared = dynamic_shared<float>();
  if (warp_index() == 0) shared[lane_index()] = 1;
  if (warp_index() < 2) sync_threads(1, 64);
  if (warp_index() > 0) sync_threads(2, 64);
  if (warp_index() == 2) out[lane_index()] = shared[31 - lane_index()];
}

TEST(Race, OrderIsTransitive) {
  const DeviceArray<float> out(32);
  EXPECT_EQ(error_of_launch(pass_on, dim3(1), 96, out.data()), kClean);
}

TEST(Race, BetweenBlocks) {
  const simt::ScopedSchedule ascending("ascending");
  const DeviceArray<float> out(64);
  const auto write_same = +[](float* x) { x[threadIdx.x] = 1; };
  const auto write_own = +[](float* x) { x[blockIdx.x * blockDim.x + threadIdx.x] = 1; };
  const auto read_then_write = +[](float* x) {
    if (blockIdx.x == 1) x[threadIdx.x] = x[threadIdx.x + 32];
    if (blockIdx.x == 0 && x[threadIdx.x + 32] > 0) x[threadIdx.x + 32] = 1;
  };
  const std::string error = error_of_launch(write_same, dim3(2), 32, out.data());
  EXPECT_CONTAINS(error, "block (1, 0, 0), thread 0: race on byte 0 of a device allocation");
  EXPECT_CONTAINS(error, "what thread 0 of block (0, 0, 0) wrote");
  EXPECT_EQ(error_of_launch(write_own, dim3(2), 32, out.data()), kClean);
  EXPECT_EQ(error_of_launch(write_same, dim3(1), 32, out.data()), kClean) << "launches follow one another";
  EXPECT_CONTAINS(error_of_launch(read_then_write, dim3(2), 32, out.data()), "of block (0, 0, 0) wrote");
  const simt::ScopedSchedule descending("descending");
  EXPECT_CONTAINS(error_of_launch(read_then_write, dim3(2), 32, out.data()), "of block (1, 0, 0) read");
}

TEST(Race, NeighbouringHalfWordsAreDifferentMemory) {
  const DeviceArray<bfloat16> out(64);
  const auto kernel = +[](bfloat16* x) {
    auto* shared = dynamic_shared<bfloat16>();
    shared[threadIdx.x] = from_float<bfloat16>(1);
    x[threadIdx.x] = shared[threadIdx.x];
  };
  EXPECT_EQ(error_of_launch(kernel, dim3(1), 64, out.data()), kClean);
}

template <Order kOrder>
__global__ void load_rows_of_other_lanes() {
  auto* rows = dynamic_shared<uint4>();
  rows[lane_index()] = make_uint4(0, 0, 0, 0);
  synchronize<kOrder>();
  std::uint32_t r[4];
  load_matrix_x4(r, rows + lane_index());
}

TEST(Race, LoadMatrixReadsForAllLanes) {
  EXPECT_CONTAINS(error_of_launch(load_rows_of_other_lanes<Order::kNone>, dim3(1), 32), "race on byte");
  EXPECT_EQ(error_of_launch(load_rows_of_other_lanes<Order::kWarp>, dim3(1), 32), kClean);
}

// Lane l copies what lane l ^ 1 uses.
template <Order kOrder>
__global__ void use_copies_of_other_lanes(const float4* in, float* out) {
  auto* shared = dynamic_shared<float4>();
  copy_async_16(shared + lane_index(), in + lane_index(), true);
  commit_copies();
  wait_for_copies<0>();
  synchronize<kOrder>();
  out[lane_index()] = shared[lane_index() ^ 1].x;
}

TEST(Race, CopiesAreWritesOfTheirThread) {
  const DeviceArray<float4> in(std::vector<float4>(32, float4{1, 2, 3, 4}));
  const DeviceArray<float> out(32);
  EXPECT_CONTAINS(error_of_launch(use_copies_of_other_lanes<Order::kNone>, dim3(1), 32, in.data(), out.data()),
                  "race on byte");
  EXPECT_EQ(error_of_launch(use_copies_of_other_lanes<Order::kWarp>, dim3(1), 32, in.data(), out.data()), kClean);
}

TEST(Bounds, SharedMemory) {
  const auto kernel = +[](int i) { dynamic_shared<float>()[i] = 1; };
  EXPECT_EQ(error_of_launch(kernel, dim3(1), 1, 1023), kClean);
  EXPECT_CONTAINS(error_of_launch(kernel, dim3(1), 1, 1024),
                  "writes 4 bytes at byte 4096 of 4096 bytes of shared memory");
  EXPECT_CONTAINS(error_of_launch(kernel, dim3(1), 1, -1), "writes 4 bytes at byte -4 of 4096 bytes of shared memory");
}

TEST(Bounds, DeviceMemory) {
  const DeviceArray<float> x(50);
  const auto kernel = +[](float* to, const float* from) { *to = *from; };
  EXPECT_EQ(error_of_launch(kernel, dim3(1), 1, x.data(), x.data() + 49), kClean);
  EXPECT_CONTAINS(error_of_launch(kernel, dim3(1), 1, x.data(), x.data() + 50),
                  "reads 4 bytes of device memory outside any allocation");
  EXPECT_CONTAINS(error_of_launch(kernel, dim3(1), 1, x.data() - 1, x.data()),
                  "writes 4 bytes of device memory outside any allocation");
}

TEST(Bounds, VectorAccessesAreAligned) {
  const DeviceArray<float> x(64);
  const auto kernel = +[](float* memory) { *reinterpret_cast<float4*>(memory) = make_float4(1, 2, 3, 4); };
  EXPECT_EQ(error_of_launch(kernel, dim3(1), 1, x.data() + 4), kClean);
  EXPECT_CONTAINS(error_of_launch(kernel, dim3(1), 1, x.data() + 2), "not aligned");
}

}  // namespace
}  // namespace mudelta::kernels::cuda
