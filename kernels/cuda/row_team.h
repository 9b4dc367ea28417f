#pragma once

#include <type_traits>

#include "kernels/cuda/vector_io.h"

namespace mudelta::kernels::cuda {

// kThreads threads that work on one row together, whose runs are whole if kWhole. A block has several teams of up to a
// warp, or one wider team. All threads of a block must call `sum`, also those whose team has no row.
template <int kThreads, bool kWhole>
struct RowTeam {
  static constexpr int kTeams = kThreads > kWarpSize ? 1 : 256 / kThreads;  // per block
  static constexpr int kBlockThreads = kTeams * kThreads;
  static constexpr int kSumFloats = kThreads > kWarpSize ? kThreads / kWarpSize : 0;  // room that `sum` needs

  // Enough that each team has a row.
  static dim3 blocks(std::int64_t rows) { return dim3(static_cast<unsigned>(divide_up(rows, kTeams))); }

  static __device__ __forceinline__ int team() { return static_cast<int>(threadIdx.x) / kThreads; }
  static __device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x) % kThreads; }

  // body(i, rest) for every run of this thread in a row of `dim` elements.
  template <class Body>
  static __device__ __forceinline__ void for_each_run(std::int64_t dim, const Body& body) {
    for (std::int64_t i = thread() * kRun; i < dim; i += kThreads * kRun) body(i, run_of<kWhole>(dim - i));
  }

  // Over the team, in a fixed order; the same on all its threads. `room` is shared memory [kSumFloats].
  static __device__ __forceinline__ float sum(float x, float* room) {
    for (int offset = min(kThreads, kWarpSize) / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
    if constexpr (kThreads > kWarpSize) {
      __syncthreads();  // earlier sums have been read
      if (lane_index() == 0) room[warp_index()] = x;
      __syncthreads();
      x = 0;
      for (int i = 0; i < kSumFloats; ++i) x += room[i];
    }
    return x;
  }
};

// f(RowTeam{}) with a team that suits rows of `dim` elements: one run a thread where there are enough. `is_aligned`:
// whether all arrays of such rows are. For runs that are not whole, which are rare, fewer sizes are compiled.
template <class F>
void dispatch_row_team(std::int64_t dim, bool is_aligned, const F& f) {
  if (!is_aligned || dim % kRun != 0) {
    if (dim <= 32 * kRun) return f(RowTeam<32, false>{});
    return f(RowTeam<256, false>{});
  }
  if (dim <= 16 * kRun) return f(RowTeam<16, true>{});
  if (dim <= 32 * kRun) return f(RowTeam<32, true>{});
  if (dim <= 128 * kRun) return f(RowTeam<128, true>{});
  f(RowTeam<256, true>{});
}

}  // namespace mudelta::kernels::cuda
