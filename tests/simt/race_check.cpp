#include "simt/race_check.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "core/error.h"
#include "simt/block.h"
#include "simt/code_location.h"
#include "simt/device_memory.h"
#include "simt/shared_memory.h"

namespace mudelta::simt {
namespace {

constexpr std::int64_t kCellBytes = 2;  // of the memory that is watched

// Address space alone: the system gives memory where it is touched, and zeros.
void* reserve_zeros(std::int64_t num_bytes) {
  void* memory = mmap(nullptr, static_cast<std::size_t>(num_bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(memory != MAP_FAILED, "no address space for the shadow of emulated device memory");
  return memory;
}

std::int64_t num_cells(std::int64_t num_bytes) { return (num_bytes + kCellBytes - 1) / kCellBytes; }

}  // namespace

RaceCheck::RaceCheck() {
  const auto shadow_of = [](const std::byte* memory, std::int64_t num_bytes) {
    const auto shadow_bytes = num_cells(num_bytes) * static_cast<std::int64_t>(sizeof(Cell));
    return Shadow{memory, num_bytes, static_cast<Cell*>(reserve_zeros(shadow_bytes))};
  };
  shared_ = shadow_of(static_cast<const std::byte*>(shared_memory()), kMaxSharedBytes);
  device_ = shadow_of(device_memory().begin, device_memory().num_bytes);
}

void RaceCheck::begin_launch() {
  if (now_ > std::numeric_limits<std::uint32_t>::max() / 2) {  // forget everything before stamps run out
    for (const Shadow& shadow : {shared_, device_}) {
      madvise(shadow.cells, static_cast<std::size_t>(num_cells(shadow.num_bytes)) * sizeof(Cell), MADV_DONTNEED);
    }
    now_ = 0;
  }
  blocks_.clear();
  device_.oldest = now_ + 1;
}

void RaceCheck::begin_block(dim3 index) {
  block_start_ = shared_.oldest = advance();
  blocks_.push_back({block_start_, index});
  stamp_.fill(block_start_);
  for (auto& known : known_) known.fill(block_start_);
  has_known_lanes_.fill(false);
}

std::uint32_t RaceCheck::advance() {
  require(now_ < std::numeric_limits<std::uint32_t>::max(), "more than 2^32 synchronisations in one launch");
  return ++now_;
}

void RaceCheck::order_warps(std::uint32_t warps) {
  const std::uint32_t stamp = advance();
  std::array<std::uint32_t, kNumWarps> joined{};
  for (std::uint32_t rest = warps; rest != 0; rest &= rest - 1) {
    const auto& known = known_[static_cast<std::size_t>(std::countr_zero(rest))];
    for (std::size_t w = 0; w < kNumWarps; ++w) joined[w] = std::max(joined[w], known[w]);
  }
  for (std::uint32_t rest = warps; rest != 0; rest &= rest - 1) {
    const auto w = static_cast<std::size_t>(std::countr_zero(rest));
    stamp_[w] = joined[w] = stamp;
  }
  for (std::uint32_t rest = warps; rest != 0; rest &= rest - 1) {
    known_[static_cast<std::size_t>(std::countr_zero(rest))] = joined;
  }
}

void RaceCheck::order_lanes(int warp, std::uint32_t lanes, bool whole) {
  const auto w = static_cast<std::size_t>(warp);
  stamp_[w] = advance();
  if (whole) {
    known_[w][w] = stamp_[w];
    return;
  }
  auto& known = known_lanes_[w];
  if (!has_known_lanes_[w]) {
    has_known_lanes_[w] = true;
    for (auto& row : known) row.fill(0);
  }
  std::array<std::uint32_t, 32> joined{};
  for (std::uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const auto& row = known[static_cast<std::size_t>(std::countr_zero(rest))];
    for (std::size_t lane = 0; lane < 32; ++lane) joined[lane] = std::max(joined[lane], row[lane]);
  }
  for (std::uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    joined[static_cast<std::size_t>(std::countr_zero(rest))] = stamp_[w];
  }
  for (std::uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    known[static_cast<std::size_t>(std::countr_zero(rest))] = joined;
  }
}

template <bool kWrite>
void RaceCheck::access(const void* memory, std::int64_t num_bytes, int warp, std::uint32_t lanes, const void* code) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const SharedRegion& region = shared_region();
  const auto in_device = address - reinterpret_cast<std::uintptr_t>(device_.memory);
  if (in_device < static_cast<std::uintptr_t>(device_.num_bytes)) {
    if (!is_allocated(memory, num_bytes)) {
      return running_block->fail_later(fmt::format("{} {} bytes of device memory outside any allocation, at {}",
                                                   kWrite ? "writes" : "reads", num_bytes, line_before(code)));
    }
    access_cells<kWrite>(device_, static_cast<std::int64_t>(in_device), num_bytes,
                         {warp, lanes, stamp_[static_cast<std::size_t>(warp)], code_offset(code)});
  } else if (address - reinterpret_cast<std::uintptr_t>(region.begin) < static_cast<std::uintptr_t>(region.num_bytes)) {
    const std::int64_t offset = static_cast<const std::byte*>(memory) - region.memory;
    if (offset < 0 || offset + num_bytes > running_block->shared_bytes()) {
      return running_block->fail_later(fmt::format("{} {} bytes at byte {} of {} bytes of shared memory, at {}",
                                                   kWrite ? "writes" : "reads", num_bytes, offset,
                                                   running_block->shared_bytes(), line_before(code)));
    }
    access_cells<kWrite>(shared_, offset, num_bytes,
                         {warp, lanes, stamp_[static_cast<std::size_t>(warp)], code_offset(code)});
  }
}
template void RaceCheck::access<false>(const void*, std::int64_t, int, std::uint32_t, const void*);
template void RaceCheck::access<true>(const void*, std::int64_t, int, std::uint32_t, const void*);

template <bool kWrite>
void RaceCheck::access_cells(const Shadow& shadow, std::int64_t offset, std::int64_t num_bytes, const Accessor& who) {
  Cell* const end = shadow.cells + num_cells(offset + num_bytes);
  for (Cell* cell = shadow.cells + offset / kCellBytes; cell != end; ++cell) {
    const auto cell_offset = (cell - shadow.cells) * kCellBytes;
    if (cell->write_stamp >= shadow.oldest && !follows_write(*cell, who)) [[unlikely]] {
      return report_race(shadow, *cell, cell_offset, who, kWrite, true);
    }
    if constexpr (kWrite) {
      if (cell->read_stamp >= shadow.oldest && !follows_reads(*cell, who)) [[unlikely]] {
        return report_race(shadow, *cell, cell_offset, who, kWrite, false);
      }
      cell->write_stamp = who.stamp;
      cell->write_code = who.code;
      cell->write_thread = static_cast<std::uint16_t>(who.warp * 32 + std::countr_zero(who.lanes));
      cell->read_stamp = 0;
    } else {
      add_reader(*cell, shadow, who);
    }
  }
}

bool RaceCheck::follows_write(const Cell& cell, const Accessor& who) const {
  if (cell.write_stamp < block_start_) return false;  // another block
  const int writer_warp = cell.write_thread / 32;
  if (cell.write_stamp < known_[static_cast<std::size_t>(who.warp)][static_cast<std::size_t>(writer_warp)]) return true;
  if (writer_warp != who.warp) return false;
  const int lane = cell.write_thread % 32;
  return who.lanes == 1u << lane || knows_lane(who.warp, who.lanes, lane, cell.write_stamp);
}

// For a single accessing lane: only such ones write.
bool RaceCheck::follows_reads(const Cell& cell, const Accessor& who) const {
  if (cell.read_stamp < block_start_) return false;
  const auto& known = known_[static_cast<std::size_t>(who.warp)];
  if (cell.read_warp == kSeveralWarps) {
    for (std::uint32_t rest = cell.readers; rest != 0; rest &= rest - 1) {
      if (cell.read_stamp >= known[static_cast<std::size_t>(std::countr_zero(rest))]) return false;
    }
    return true;
  }
  if (cell.read_stamp < known[cell.read_warp]) return true;
  if (cell.read_warp != who.warp) return false;
  for (std::uint32_t rest = cell.readers & ~who.lanes; rest != 0; rest &= rest - 1) {
    if (!knows_lane(who.warp, who.lanes, std::countr_zero(rest), cell.read_stamp)) return false;
  }
  return true;
}

// Whether what `lane` did with this stamp lies before what the lanes `knowing` of its warp do now.
bool RaceCheck::knows_lane(int warp, std::uint32_t knowing, int lane, std::uint32_t stamp) const {
  const auto w = static_cast<std::size_t>(warp);
  if (!has_known_lanes_[w]) return false;
  for (std::uint32_t rest = knowing; rest != 0; rest &= rest - 1) {
    const int knower = std::countr_zero(rest);
    const bool knows =
        knower == lane || stamp < known_lanes_[w][static_cast<std::size_t>(knower)][static_cast<std::size_t>(lane)];
    if (!knows) return false;
  }
  return true;
}

void RaceCheck::add_reader(Cell& cell, const Shadow& shadow, const Accessor& who) const {
  const auto warp = static_cast<std::uint16_t>(who.warp);
  if (cell.read_stamp == who.stamp && cell.read_warp == warp) {
    cell.readers |= who.lanes;
    return;
  }
  const bool is_fresh = cell.read_stamp >= shadow.oldest;
  // A reader of another block stays: whoever writes in this launch now races with it.
  if (is_fresh && cell.read_stamp < block_start_) return;
  const auto& known = known_[static_cast<std::size_t>(who.warp)];
  const auto precedes = [&](std::uint32_t of) { return cell.read_stamp < known[of]; };
  bool replaces = !is_fresh;
  if (is_fresh && cell.read_warp == kSeveralWarps) {
    replaces = true;
    for (std::uint32_t rest = cell.readers; rest != 0; rest &= rest - 1) {
      replaces &= precedes(static_cast<std::uint32_t>(std::countr_zero(rest)));
    }
  } else if (is_fresh) {
    replaces = precedes(cell.read_warp);
  }
  if (replaces) {
    cell.readers = who.lanes;
    cell.read_warp = warp;
  } else if (cell.read_warp == warp) {
    cell.readers |= who.lanes;
  } else {
    if (cell.read_warp != kSeveralWarps) cell.readers = 1u << cell.read_warp;
    cell.readers |= 1u << warp;
    cell.read_warp = kSeveralWarps;
  }
  cell.read_stamp = replaces ? who.stamp : std::max(cell.read_stamp, who.stamp);
  cell.read_code = who.code;
}

std::string RaceCheck::other_thread(std::uint32_t stamp, int thread) const {
  if (stamp >= block_start_) return fmt::format("thread {}", thread);
  const auto next = std::ranges::upper_bound(blocks_, stamp, {}, &BlockStart::stamp);
  const dim3 index = std::prev(next)->index;
  return fmt::format("thread {} of block ({}, {}, {})", thread, index.x, index.y, index.z);
}

void RaceCheck::report_race(const Shadow& shadow, const Cell& cell, std::int64_t offset, const Accessor& who,
                            bool writes, bool after_write) {
  const bool is_shared = shadow.cells == shared_.cells;
  const std::string place =
      is_shared ? fmt::format("byte {} of shared memory", offset) : describe_device_address(shadow.memory + offset);
  const std::uint32_t stamp = after_write ? cell.write_stamp : cell.read_stamp;
  int other = cell.write_thread;
  if (!after_write) {
    const int first = std::countr_zero(cell.readers);
    other = cell.read_warp == kSeveralWarps ? first * 32 : cell.read_warp * 32 + first;
    // The first reader may be this thread itself, or one that it has waited for.
    const std::uint32_t others = cell.readers & ~who.lanes;
    if (cell.read_warp == who.warp && others != 0) other = who.warp * 32 + std::countr_zero(others);
  }
  running_block->fail_later(fmt::format("race on {}: {} (at {}) what {} {} (at {}), and nothing orders the two", place,
                                        writes ? "writes" : "reads", line_before(code_at(who.code)),
                                        other_thread(stamp, other), after_write ? "wrote" : "read",
                                        line_before(code_at(after_write ? cell.write_code : cell.read_code))));
}

}  // namespace mudelta::simt
