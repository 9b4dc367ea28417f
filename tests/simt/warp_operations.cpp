#include "simt/warp_operations.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>

#include "core/error.h"
#include "simt/block.h"
#include "simt/device_memory.h"

// Fragment layouts are those of the PTX manual, sections "Matrix Fragments for mma.m16n8k16", "... m16n8k8" and
// "ldmatrix"; native.h states them.
namespace mudelta::simt {
namespace {

using Lanes = std::span<Operands, kWarpSize>;

constexpr std::uint32_t kAllLanes = 0xffffffffu;

// Throws Error where there is no running block: host code called a device function.
Block& block() {
  require(running_block != nullptr, "a device function was called outside a kernel");
  return *running_block;
}

void complete_sync(Block& running, int warp, std::uint32_t mask) {
  const int lanes = std::min(kWarpSize, running.num_threads() - warp * kWarpSize);
  running.races().order_lanes(warp, mask, std::popcount(mask) == lanes);
}

void complete_shuffle(Block& running, int warp, std::uint32_t mask) {
  const Lanes lanes = running.operands_of_warp(warp);
  std::array<std::uint64_t, kWarpSize> values;
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    values[lane] = (mask >> lane & 1) != 0 ? lanes[lane].bits : ~std::uint64_t{0};
  }
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    Operands& lane = lanes[static_cast<std::size_t>(std::countr_zero(rest))];
    lane.bits = values[static_cast<std::size_t>(lane.source_lane)];
  }
}

void complete_ballot(Block& running, int warp, std::uint32_t mask) {
  const Lanes lanes = running.operands_of_warp(warp);
  std::uint64_t votes = 0;
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
    votes |= lanes[lane].bits << lane;
  }
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    lanes[static_cast<std::size_t>(std::countr_zero(rest))].bits = votes;
  }
}

// A row of b or c, as a vector: left to choose, the compiler makes vectors of k, and takes several times as long.
using Row = float __attribute__((vector_size(32)));

// c [16, 8] += a [16, K] b [K, 8], with the fragments of c in the lanes; products are added in the order of k.
template <std::size_t K>
void multiply_add(Lanes lanes, const float (&a)[16][K], const Row (&b)[K]) {
  Row c[16];
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    const std::size_t r = lane / 4, q = lane % 4;
    const Accumulators& part = lanes[lane].c;
    c[r][2 * q] = part.c0, c[r][2 * q + 1] = part.c1;
    c[r + 8][2 * q] = part.c2, c[r + 8][2 * q + 1] = part.c3;
  }
  for (std::size_t row = 0; row < 16; ++row) {
    Row sums = c[row];
    for (std::size_t k = 0; k < K; ++k) sums += a[row][k] * b[k];
    c[row] = sums;
  }
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    const std::size_t r = lane / 4, q = lane % 4;
    lanes[lane].c = {c[r][2 * q], c[r][2 * q + 1], c[r + 8][2 * q], c[r + 8][2 * q + 1]};
  }
}

float low_half(std::uint32_t packed) { return std::bit_cast<float>(packed << 16); }
float high_half(std::uint32_t packed) { return std::bit_cast<float>(packed & 0xffff0000u); }
float truncated_to_tf32(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); }

void complete_bfloat16(Block& running, int warp, std::uint32_t) {
  const Lanes lanes = running.operands_of_warp(warp);
  float a[16][16];
  Row b[16];
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    const std::size_t r = lane / 4, q = lane % 4;
    for (std::size_t i = 0; i < 4; ++i) {
      float* pair = &a[r + 8 * (i % 2)][2 * q + 8 * (i / 2)];
      pair[0] = low_half(lanes[lane].a[i]), pair[1] = high_half(lanes[lane].a[i]);
    }
    for (std::size_t i = 0; i < 2; ++i) {
      b[2 * q + 8 * i][r] = low_half(lanes[lane].b[i]);
      b[2 * q + 8 * i + 1][r] = high_half(lanes[lane].b[i]);
    }
  }
  multiply_add(lanes, a, b);
}

void complete_tf32(Block& running, int warp, std::uint32_t) {
  const Lanes lanes = running.operands_of_warp(warp);
  float a[16][8];
  Row b[8];
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    const std::size_t r = lane / 4, q = lane % 4;
    for (std::size_t i = 0; i < 4; ++i) a[r + 8 * (i % 2)][q + 4 * (i / 2)] = truncated_to_tf32(lanes[lane].a[i]);
    for (std::size_t i = 0; i < 2; ++i) b[q + 4 * i][r] = truncated_to_tf32(lanes[lane].b[i]);
  }
  multiply_add(lanes, a, b);
}

void require_shared_row(Block& running, const void* row) {
  const auto* address = static_cast<const std::byte*>(row);
  const std::int64_t offset = address - static_cast<const std::byte*>(shared_memory());
  running.require_here(offset >= 0 && offset + 16 <= running.shared_bytes(),
                       "a row of 16 bytes at byte {} of {} bytes of shared memory", offset, running.shared_bytes());
  running.require_here(offset % 16 == 0, "a row at byte {} of shared memory is not aligned to 16 bytes", offset);
}

template <int kNumMatrices, bool kTransposed>
void complete_load(Block& running, int warp, std::uint32_t) {
  const Lanes lanes = running.operands_of_warp(warp);
  for (std::size_t matrix = 0; matrix < kNumMatrices; ++matrix) {
    std::uint16_t elements[8][8];
    for (std::size_t row = 0; row < 8; ++row) {
      const Operands& giver = lanes[8 * matrix + row];
      running.races().read_by_warp(giver.row, 16, warp, giver.code);
      std::memcpy(elements[row], giver.row, 16);
    }
    for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
      const std::size_t r = lane / 4, q = lane % 4;
      const std::uint32_t low = kTransposed ? elements[2 * q][r] : elements[r][2 * q];
      const std::uint32_t high = kTransposed ? elements[2 * q + 1][r] : elements[r][2 * q + 1];
      lanes[lane].a[matrix] = low | high << 16;
    }
  }
}

constexpr WarpOperation kSync{"__syncwarp", false, complete_sync};
constexpr WarpOperation kBallot{"a vote", false, complete_ballot};
constexpr std::array<WarpOperation, 4> kShuffles{{{"__shfl_sync", false, complete_shuffle},
                                                  {"__shfl_up_sync", false, complete_shuffle},
                                                  {"__shfl_down_sync", false, complete_shuffle},
                                                  {"__shfl_xor_sync", false, complete_shuffle}}};
constexpr WarpOperation kMultiplyBFloat16{"mma_bfloat16", true, complete_bfloat16};
constexpr WarpOperation kMultiplyTf32{"mma_tf32", true, complete_tf32};
constexpr WarpOperation kLoad4{"load_matrix_x4", true, complete_load<4, false>};
constexpr WarpOperation kLoad4Transposed{"load_matrix_x4_transposed", true, complete_load<4, true>};
constexpr WarpOperation kLoad2{"load_matrix_x2", true, complete_load<2, false>};
constexpr WarpOperation kLoad2Transposed{"load_matrix_x2_transposed", true, complete_load<2, true>};

// The lane that a shuffle reads (PTX manual, shfl.sync); itself where that lies outside its group.
int source_of(Shuffle kind, int lane, int operand, int width) {
  const int first = lane & ~(width - 1);
  int source = lane;
  switch (kind) {
    case Shuffle::kIndexed: return first | (operand & (width - 1));
    case Shuffle::kUp: source = lane - operand; break;
    case Shuffle::kDown: source = lane + operand; break;
    case Shuffle::kXor: source = lane ^ operand; break;
  }
  const bool may_lie_below = kind == Shuffle::kXor;
  return (source < (may_lie_below ? 0 : first) || source >= first + width) ? lane : source;
}

Accumulators multiply(const WarpOperation& operation, const Accumulators& c, const std::array<std::uint32_t, 4>& a,
                      const std::array<std::uint32_t, 2>& b) {
  Block& running = block();
  Operands& operands = running.operands();
  operands.c = c, operands.a = a, operands.b = b;
  running.meet_warp(operation, kAllLanes);
  return operands.c;
}

}  // namespace

void sync_block() { block().meet_barrier(0, block().num_threads()); }

void sync_named_barrier(int id, int threads) {
  Block& running = block();
  running.require_here(1 <= id && id < kNumBarriers, "barrier {}: expected 1 to 15", id);
  running.require_here(threads > 0 && threads % kWarpSize == 0 && threads <= running.num_threads(),
                       "barrier {} of {} threads: expected a multiple of 32, of at most {}", id, threads,
                       running.num_threads());
  running.meet_barrier(id, threads);
}

void sync_warp(std::uint32_t mask) { block().meet_warp(kSync, mask); }

std::uint64_t shuffle(Shuffle kind, std::uint32_t mask, std::uint64_t bits, int operand, int width) {
  Block& running = block();
  const WarpOperation& operation = kShuffles[static_cast<std::size_t>(kind)];
  running.require_here(1 <= width && width <= kWarpSize && std::has_single_bit(static_cast<unsigned>(width)),
                       "{} with width {}: expected a power of two up to 32", operation.name, width);
  Operands& operands = running.operands();
  operands.bits = bits;
  operands.source_lane = source_of(kind, running.running_lane(), operand, width);
  running.meet_warp(operation, mask);
  return operands.bits;
}

std::uint32_t ballot(std::uint32_t mask, bool predicate) {
  Operands& operands = block().operands();
  operands.bits = predicate ? 1 : 0;
  block().meet_warp(kBallot, mask);
  return static_cast<std::uint32_t>(operands.bits);
}

Accumulators multiply_bfloat16(Accumulators c, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                               std::uint32_t b0, std::uint32_t b1) {
  return multiply(kMultiplyBFloat16, c, {a0, a1, a2, a3}, {b0, b1});
}

Accumulators multiply_tf32(Accumulators c, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                           std::uint32_t b0, std::uint32_t b1) {
  return multiply(kMultiplyTf32, c, {a0, a1, a2, a3}, {b0, b1});
}

MatrixFragments load_matrices(const void* row, int num_matrices, bool transposed) {
  Block& running = block();
  if (running.running_lane() < 8 * num_matrices) require_shared_row(running, row);
  Operands& operands = running.operands();
  operands.row = row;
  operands.code = __builtin_return_address(0);
  if (num_matrices == 4) {
    running.meet_warp(transposed ? kLoad4Transposed : kLoad4, kAllLanes);
  } else {
    running.meet_warp(transposed ? kLoad2Transposed : kLoad2, kAllLanes);
  }
  const auto& r = operands.a;
  return {r[0], r[1], r[2], r[3]};
}

void start_copy(void* shared, const void* global, bool valid) {
  Block& running = block();
  require_shared_row(running, shared);
  running.require_here(reinterpret_cast<std::uintptr_t>(global) % 16 == 0,
                       "copy_async_16 from {}, which is not aligned to 16 bytes", global);
  running.require_here(!valid || is_allocated(global, 16), "copy_async_16 from {}, which is not in device memory",
                       global);
  running.start_copy(shared, valid ? global : nullptr, __builtin_return_address(0));
}

void commit_copies() { block().commit_copies(); }
void wait_for_copies(int pending_groups) { block().wait_for_copies(pending_groups, __builtin_return_address(0)); }

void fail_requirement() { block().fail_here("device_require failed"); }

}  // namespace mudelta::simt
