#include "data/tokenizers/pair_table.h"

#include <bit>

namespace mudelta {

PairTable::PairTable(std::size_t max_pairs) : slots_(std::bit_ceil(2 * max_pairs + 1)), mask_(slots_.size() - 1) {}

void PairTable::set(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  std::size_t slot = first_slot(key);
  while (slots_[slot].key != key && slots_[slot].key != kEmpty) slot = (slot + 1) & mask_;
  slots_[slot] = {key, merge};
}

}  // namespace mudelta
