#pragma once

#include <cstdint>

// What an emulated thread asks of the emulator. A thread that waits for others gives way to them; a wait that can never
// end, operands that the hardware would refuse and lanes that disagree throw Error from the launch.
namespace mudelta::simt {

// Of the running block, with the size given at launch: 128-byte aligned, filled with NaN before the block starts.
void* shared_memory();

void sync_block();                             // __syncthreads: of all threads that have not returned
void sync_named_barrier(int id, int threads);  // bar.sync id, threads
void sync_warp(std::uint32_t mask);            // the one operation here besides barriers that orders memory accesses

enum class Shuffle { kIndexed, kUp, kDown, kXor };
// `bits` of the lane that `kind` and `operand` name among groups of `width` lanes; all ones if it takes no part.
std::uint64_t shuffle(Shuffle kind, std::uint32_t mask, std::uint64_t bits, int operand, int width);
std::uint32_t ballot(std::uint32_t mask, bool predicate);

struct Accumulators {
  float c0, c1, c2, c3;
};
Accumulators multiply_bfloat16(Accumulators c, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                               std::uint32_t b0, std::uint32_t b1);
// Operands are truncated to tf32, as the hardware does.
Accumulators multiply_tf32(Accumulators c, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                           std::uint32_t b0, std::uint32_t b1);

struct MatrixFragments {
  std::uint32_t r0, r1, r2, r3;
};
MatrixFragments load_matrices(const void* row, int num_matrices, bool transposed);

// The bytes move when the thread waits for their group, or returns: never earlier, so that a missing wait shows.
void start_copy(void* shared, const void* global, bool valid);
void commit_copies();
void wait_for_copies(int pending_groups);

[[noreturn]] void fail_requirement();

}  // namespace mudelta::simt
