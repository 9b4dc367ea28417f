#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "simt/builtins.h"

namespace mudelta::simt {

// Finds two threads that touch the same bytes of shared or device memory, one of them writing, with nothing between
// that orders them: a barrier that both take part in, or __syncwarp for lanes of a warp. Shuffles, votes, mma and
// ldmatrix do not order memory, and nothing orders two blocks of a launch. Races are those that could happen, not
// those that did: they do not depend on the schedule.
//
// Reads and writes come from the compiler's thread-sanitizer instrumentation of device code (memory_hooks.cpp), and
// from the operations of block.h and warp_operations.h themselves.
//
// The method is that of vector clocks (FastTrack, Flanagan and Freund 2009), with one clock a warp: every
// synchronisation gets a number, accesses are stamped with the number of their warp's latest one, and each warp knows
// up to which number the accesses of every other warp lie before its own. A cell of two bytes keeps its last writer and
// the readers since. Two simplifications can report what is no race: threads that write the two bytes of one cell, and
// readers of several warps, which share the latest of their stamps (a writer must be ordered after that one even for
// earlier readers).
class RaceCheck {
 public:
  RaceCheck();

  void begin_launch();
  void begin_block(dim3 index);

  // What the threads of the block, of some warps (a bit each), or lanes of one warp did so far lies before what they do
  // from now on. `whole`: these are all lanes of the warp.
  void order_block() { order_warps(0xffffffffu); }
  void order_warps(std::uint32_t warps);
  void order_lanes(int warp, std::uint32_t lanes, bool whole);

  // Thread `thread` of the running block reads or writes; memory that is neither shared nor on the device is not looked
  // at. `code` is where, for reports. The block fails later if this is a race, or outside the memory it may touch.
  void read(const void* memory, std::int64_t num_bytes, int thread, const void* code) {
    access<false>(memory, num_bytes, thread / 32, 1u << (thread % 32), code);
  }
  void write(const void* memory, std::int64_t num_bytes, int thread, const void* code) {
    access<true>(memory, num_bytes, thread / 32, 1u << (thread % 32), code);
  }
  // All lanes of `warp` read.
  void read_by_warp(const void* memory, std::int64_t num_bytes, int warp, const void* code) {
    access<false>(memory, num_bytes, warp, 0xffffffffu, code);
  }

 private:
  static constexpr int kNumWarps = 32;
  static constexpr std::uint16_t kSeveralWarps = 0xffff;
  struct Cell {
    std::uint32_t write_stamp;
    std::uint32_t write_code;
    std::uint32_t read_stamp;
    std::uint32_t read_code;
    std::uint32_t readers;  // lanes of read_warp; warps if it is kSeveralWarps
    std::uint16_t write_thread;
    std::uint16_t read_warp;
  };
  // Cells for a range of memory, zero until touched. Accesses stamped before `oldest` count no more.
  struct Shadow {
    const std::byte* memory = nullptr;
    std::int64_t num_bytes = 0;
    Cell* cells = nullptr;
    std::uint32_t oldest = 0;
  };
  struct Accessor {
    int warp;
    std::uint32_t lanes;
    std::uint32_t stamp;
    std::uint32_t code;
  };

  template <bool kWrite>
  void access(const void* memory, std::int64_t num_bytes, int warp, std::uint32_t lanes, const void* code);
  template <bool kWrite>
  void access_cells(const Shadow& shadow, std::int64_t offset, std::int64_t num_bytes, const Accessor& who);
  bool follows_write(const Cell& cell, const Accessor& who) const;
  bool follows_reads(const Cell& cell, const Accessor& who) const;
  bool knows_lane(int warp, std::uint32_t knowing, int lane, std::uint32_t stamp) const;
  void add_reader(Cell& cell, const Shadow& shadow, const Accessor& who) const;
  std::uint32_t advance();

  void report_race(const Shadow& shadow, const Cell& cell, std::int64_t offset, const Accessor& who, bool writes,
                   bool after_write);
  std::string other_thread(std::uint32_t stamp, int thread) const;

  Shadow shared_;
  Shadow device_;
  std::uint32_t now_ = 0;
  std::uint32_t block_start_ = 0;
  std::array<std::uint32_t, kNumWarps> stamp_{};  // of each warp's latest synchronisation
  // Accesses of warp b stamped before known_[a][b] lie before what warp a does now.
  std::array<std::array<std::uint32_t, kNumWarps>, kNumWarps> known_{};
  // The same among the lanes of a warp, where __syncwarp of a part of it has told more than known_.
  std::array<bool, kNumWarps> has_known_lanes_{};
  std::array<std::array<std::array<std::uint32_t, 32>, 32>, kNumWarps> known_lanes_{};

  struct BlockStart {
    std::uint32_t stamp;
    dim3 index;
  };
  std::vector<BlockStart> blocks_;  // of this launch
};

}  // namespace mudelta::simt
