// How threads of a block work together: shuffles, votes, barriers, asynchronous copies, and what ends them.
#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/cuda/simt.h"
#include "tests/simt/device_array.h"
#include "tests/support/errors.h"

namespace mudelta::kernels::cuda {
namespace {

using simt::Schedule;
using testing::DeviceArray;
using testing::error_of;
using ::testing::Values;

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

Stream stream() { return Stream(Device::cuda()); }

class Cooperation : public ::testing::TestWithParam<const char*> {
 private:
  simt::ScopedSchedule schedule_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Schedules, Cooperation, Values("ascending", "descending", "random:1", "random:2"));

template <class T>
__global__ void shuffle_all(T* out) {
  const int lane = lane_index();
  const T value = static_cast<T>(lane) + static_cast<T>(100);
  T* row = out + lane * 6;
  row[0] = __shfl_sync(kAllLanes, value, lane + 33);
  row[1] = __shfl_up_sync(kAllLanes, value, 3u);
  row[2] = __shfl_down_sync(kAllLanes, value, 3u);
  row[3] = __shfl_xor_sync(kAllLanes, value, 5);
  row[4] = __shfl_down_sync(kAllLanes, value, 3u, 8);
  row[5] = __shfl_sync(kAllLanes, value, 9, 8);
}

template <class T>
void expect_shuffles() {
  const DeviceArray<T> out(32 * 6);
  launch(shuffle_all<T>, dim3(1), 32, 0, stream(), out.data());
  const auto rows = out.values();
  for (int lane = 0; lane < 32; ++lane) {
    const int expected[6] = {(lane + 1) % 32, lane < 3 ? lane : lane - 3,     lane > 28 ? lane : lane + 3,
                             lane ^ 5,        lane % 8 > 4 ? lane : lane + 3, lane / 8 * 8 + 1};
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(rows[static_cast<std::size_t>(lane * 6 + i)], static_cast<T>(expected[i] + 100)) << lane << ", " << i;
    }
  }
}

TEST_P(Cooperation, Shuffles) {
  expect_shuffles<float>();
  expect_shuffles<double>();
  expect_shuffles<int>();
  expect_shuffles<unsigned>();
}

TEST_P(Cooperation, ShufflesOfHalfWarpsThatPartedWays) {
  const DeviceArray<int> out(32);
  launch(
      +[](int* sums) {
        int x = lane_index();
        if (lane_index() < 16) {
          for (int offset = 8; offset > 0; offset /= 2) x += __shfl_xor_sync(0x0000ffffu, x, offset);
        } else {
          x += __shfl_xor_sync(0xffff0000u, x, 1);
        }
        sums[lane_index()] = x;
      },
      dim3(1), 32, 0, stream(), out.data());
  const auto sums = out.values();
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(sums[static_cast<std::size_t>(lane)], lane < 16 ? 120 : lane + (lane ^ 1));
  }
}

TEST_P(Cooperation, Votes) {
  const DeviceArray<unsigned> out(5);
  launch(
      +[](unsigned* votes) {
        const unsigned ballot = __ballot_sync(kAllLanes, lane_index() % 3 == 0);
        const int any = __any_sync(kAllLanes, lane_index() == 7), none = __any_sync(kAllLanes, 0);
        const int all = __all_sync(kAllLanes, 1), not_all = __all_sync(kAllLanes, lane_index() != 7);
        if (lane_index() != 0) return;
        votes[0] = ballot;
        votes[1] = static_cast<unsigned>(any), votes[2] = static_cast<unsigned>(none);
        votes[3] = static_cast<unsigned>(all), votes[4] = static_cast<unsigned>(not_all);
      },
      dim3(1), 32, 0, stream(), out.data());
  EXPECT_EQ(out.values(), (std::vector<unsigned>{0x49249249u, 1, 0, 1, 0}));
}

TEST_P(Cooperation, BarriersDoNotWaitForThreadsThatReturned) {
  const DeviceArray<int> out(96);
  launch(
      +[](int* x) {
        int* shared = dynamic_shared<int>();
        const int i = static_cast<int>(threadIdx.x);
        shared[i] = i;
        if (i % 3 == 0) return;
        __syncthreads();
        x[i] = shared[95 - i];
      },
      dim3(1), 96, 96 * 4, stream(), out.data());
  const auto x = out.values();
  for (int i = 0; i < 96; ++i) EXPECT_EQ(x[static_cast<std::size_t>(i)], i % 3 == 0 ? -1 : 95 - i);
}

// A producer warp and two consumer warps, with a barrier each way a round: no barrier of the whole block.
__global__ void hand_over(int* out, int rounds) {
  int* slot = dynamic_shared<int>();
  int sum = 0;
  for (int round = 0; round < rounds; ++round) {
    if (warp_index() == 2) {
      if (round > 0) sync_threads(2, 96);
      slot[lane_index()] = round * lane_index();
      sync_threads(1, 96);
    } else {
      sync_threads(1, 96);
      sum += slot[31 - lane_index()];
      if (round + 1 < rounds) sync_threads(2, 96);
    }
  }
  if (warp_index() != 2) out[threadIdx.x] = sum;
}

TEST_P(Cooperation, NamedBarriers) {
  const DeviceArray<int> out(64);
  launch(hand_over, dim3(1), 96, 32 * 4, stream(), out.data(), 5);
  const auto sums = out.values();
  for (int i = 0; i < 64; ++i) EXPECT_EQ(sums[static_cast<std::size_t>(i)], 10 * (31 - i % 32));
}

TEST_P(Cooperation, EveryBlockOfAGridRunsOnce) {
  const DeviceArray<int> out(5 * 3 * 2);
  launch(
      +[](int* x) {
        if (threadIdx.x == 0)
          x[(blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] =
              static_cast<int>(blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z + 1000 * blockDim.x);
      },
      dim3(5, 3, 2), 64, 0, stream(), out.data());
  const auto x = out.values();
  for (int i = 0; i < 30; ++i)
    EXPECT_EQ(x[static_cast<std::size_t>(i)], i % 5 + 10 * (i / 5 % 3) + 100 * (i / 15) + 64000);
}

// Reads the bytes before the wait, after the first group, and after both.
__global__ void copy_in_groups(const float* in, float* out) {
  float* shared = dynamic_shared<float>();
  copy_async_16(shared, in, true);
  commit_copies();
  copy_async_16(shared + 4, in + 4, true);
  copy_async_16(shared + 8, nullptr, false);
  commit_copies();
  out[0] = shared[0];
  wait_for_copies<1>();
  out[1] = shared[0], out[2] = shared[4];
  wait_for_copies<0>();
  out[3] = shared[4], out[4] = shared[7], out[5] = shared[8];
}

TEST_P(Cooperation, CopiesAreThereOnceWaitedFor) {
  std::vector<float> values(8);
  std::iota(values.begin(), values.end(), 1.0f);
  const DeviceArray<float> in(values), out(6);
  launch(copy_in_groups, dim3(1), 1, 48, stream(), in.data(), out.data());
  const auto seen = out.values();
  EXPECT_TRUE(std::isnan(seen[0])) << "not before the wait, and shared memory starts as NaN";
  EXPECT_EQ(seen[1], 1.0f);
  EXPECT_TRUE(std::isnan(seen[2])) << "a group that was not waited for";
  EXPECT_EQ(seen[3], 5.0f);
  EXPECT_EQ(seen[4], 8.0f);
  EXPECT_EQ(seen[5], 0.0f);
}

TEST_P(Cooperation, DeadlocksAreErrors) {
  const std::string divergent = error_of([] {
    launch(
        +[] {
          if (threadIdx.x < 16)
            __syncwarp();
          else
            __syncthreads();
        },
        dim3(2), 32, 0, stream());
  });
  EXPECT_CONTAINS(divergent, "threads wait for each other for ever");
  EXPECT_CONTAINS(divergent, "warp 0 lanes 0x0000ffff at __syncwarp of lanes 0xffffffff");
  EXPECT_CONTAINS(divergent, "warp 0 lanes 0xffff0000 at __syncthreads");

  const std::string returned = error_of([] {
    launch(
        +[] {
          if (lane_index() == 3) return;
          __shfl_xor_sync(kAllLanes, 1, 1);
        },
        dim3(1), 32, 0, stream());
  });
  EXPECT_CONTAINS(returned, "lanes 0xfffffff7 at __shfl_xor_sync of lanes 0xffffffff");
  EXPECT_CONTAINS(returned, "lanes 0x00000008 have returned");

  const std::string missing = error_of([] {
    launch(
        +[] {
          if (warp_index() == 0) sync_threads(4, 64);
        },
        dim3(1), 64, 0, stream());
  });
  EXPECT_CONTAINS(missing, "at barrier 4 (32 of 64 threads)");
}

TEST_P(Cooperation, ALaneMustBeInItsOwnMask) {
  const std::string error = error_of([] {
    launch(
        +[] { __syncwarp(0xfffeu); }, dim3(1), 32, 0, stream());
  });
  EXPECT_CONTAINS(error, "__syncwarp with the mask 0x0000fffe, which lacks the calling lane");
}

__global__ void require_below(int limit) {
  __syncthreads();
  device_require(static_cast<int>(threadIdx.x) < limit);
  __syncthreads();
}

TEST_P(Cooperation, ErrorsOfAThreadEndTheLaunch) {
  for (int i = 0; i < 3; ++i) {
    const std::string error = error_of([] { launch(require_below, dim3(1, 2), 96, 64, stream(), 95); });
    EXPECT_CONTAINS(error, "require_below, block (0, ");
    EXPECT_CONTAINS(error, "thread 95: device_require failed");
    launch(require_below, dim3(1, 2), 96, 64, stream(), 96);
  }
}

TEST(Emulator, DeviceFunctionsNeedAKernel) {
  EXPECT_EQ(error_of([] { __syncthreads(); }), "a device function was called outside a kernel");
}

TEST(Emulator, RefusesWhatTheHardwareWouldNotStart) {
  const auto error_with = [](dim3 grid, int block, std::int64_t shared_bytes) {
    return error_of([&] {
      launch(
          +[] {}, grid, block, shared_bytes, stream());
    });
  };
  EXPECT_EQ(error_with(dim3(1), 1024, 227 * 1024), "no error was thrown");
  EXPECT_EQ(error_with(dim3(0, 1 << 20), 0, -1), "no error was thrown") << "an empty grid is no launch";
  EXPECT_CONTAINS(error_with(dim3(1), 0, 0), "a block has 1 to 1024 threads");
  EXPECT_CONTAINS(error_with(dim3(1), 1025, 0), "a block has 1 to 1024 threads");
  EXPECT_CONTAINS(error_with(dim3(1, 65536), 32, 0), "at most 65535");
  EXPECT_CONTAINS(error_with(dim3(1, 1, 65536), 32, 0), "at most 65535");
  EXPECT_CONTAINS(error_with(dim3(1), 32, 227 * 1024 + 1), "at most 227 KiB");
  EXPECT_CONTAINS(error_of([] {
                    launch(
                        +[] {}, dim3(1), 32, 0, Stream());
                  }),
                  "a stream of cpu");
}

TEST(Emulator, SchedulesDifferAndAreNamed) {
  // The last writer of a word tells the order: a race, so not through memory that is checked.
  const auto last_thread = [](const char* schedule) {
    const simt::ScopedSchedule scope(schedule);
    static unsigned last;
    launch(
        +[] { last = threadIdx.x + 64 * blockIdx.x; }, dim3(7), 64, 0, stream());
    return last;
  };
  EXPECT_EQ(last_thread("ascending"), 6u * 64 + 63);
  EXPECT_EQ(last_thread("descending"), 0u);
  EXPECT_EQ(last_thread("random:3"), last_thread("random:3"));
  EXPECT_NE(last_thread("random:3"), last_thread("random:4"));
  EXPECT_CONTAINS(error_of([] { Schedule::parse("random"); }), "\"random\" is no schedule");
}

}  // namespace
}  // namespace mudelta::kernels::cuda
