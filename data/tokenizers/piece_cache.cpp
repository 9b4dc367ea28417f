#include "data/tokenizers/piece_cache.h"

#include <xxhash.h>

#include <algorithm>

namespace mudelta {

void PieceCache::keep(std::string_view piece, std::span<const std::int32_t> tokens) {
  if (piece.empty() || piece.size() > kMaxBytes || tokens.size() > kMaxTokens) return;
  Slot& slot = slots_[slot_of(piece)];
  std::ranges::copy(piece, slot.bytes.begin());
  std::ranges::copy(tokens, slot.tokens.begin());
  slot.num_bytes = static_cast<std::uint8_t>(piece.size());
  slot.num_tokens = static_cast<std::uint8_t>(tokens.size());
}

std::size_t PieceCache::slot_of(std::string_view piece) {
  return XXH3_64bits(piece.data(), piece.size()) & (kNumSlots - 1);
}

}  // namespace mudelta
