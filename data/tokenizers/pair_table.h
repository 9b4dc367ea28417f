#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace mudelta {

// What two neighbouring tokens become. Of all pairs in a piece, that of the lowest rank is merged first.
struct Merge {
  static constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();

  std::int32_t rank = kNone;
  std::int32_t token = -1;
};

// Merges by pair of tokens.
class PairTable {
 public:
  explicit PairTable(std::size_t max_pairs);

  // Replaces what was there. At most max_pairs pairs.
  void set(std::int32_t left, std::int32_t right, Merge merge);
  Merge find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t slot = first_slot(key);; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key) return slots_[slot].merge;
      if (slots_[slot].key == kEmpty) return {};
    }
  }

 private:
  static constexpr std::uint64_t kEmpty = std::numeric_limits<std::uint64_t>::max();  // of no two ids, which are >= 0

  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };

  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t first_slot(std::uint64_t key) const { return (key * 0x9e3779b97f4a7c15 >> 20) & mask_; }

  std::vector<Slot> slots_;
  std::size_t mask_;
};

}  // namespace mudelta
