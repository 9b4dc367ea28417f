#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mudelta {

// The tokens of pieces that came before: most pieces of a text are words that come again and again. Of the pieces that
// share a slot the last one is kept; long ones are not.
class PieceCache {
 public:
  PieceCache() : slots_(kNumSlots) {}

  // Nothing if it is not there.
  std::optional<std::span<const std::int32_t>> find(std::string_view piece) const {
    if (piece.size() > kMaxBytes) return std::nullopt;
    const Slot& slot = slots_[slot_of(piece)];
    if (slot.num_bytes != piece.size() || std::memcmp(slot.bytes.data(), piece.data(), piece.size()) != 0) {
      return std::nullopt;
    }
    return std::span(slot.tokens).first(slot.num_tokens);
  }

  void keep(std::string_view piece, std::span<const std::int32_t> tokens);

 private:
  static constexpr std::size_t kNumSlots = 1 << 17;
  static constexpr std::size_t kMaxBytes = 30, kMaxTokens = 8;  // a slot is a cache line

  struct alignas(64) Slot {
    std::array<std::int32_t, kMaxTokens> tokens;
    std::uint8_t num_bytes = 0;  // 0: an empty slot
    std::uint8_t num_tokens = 0;
    std::array<char, kMaxBytes> bytes;
  };
  static_assert(sizeof(Slot) == 64);

  static std::size_t slot_of(std::string_view piece);

  std::vector<Slot> slots_;
};

}  // namespace mudelta
