#include "core/rng.h"

#include <xxhash.h>

#include <cmath>
#include <numbers>

namespace mudelta {
namespace {

// 52 bits and a half: one bit more and the largest value would round up to 1.
double to_unit_interval(std::uint64_t bits) { return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52; }

std::uint64_t join(std::uint32_t low, std::uint32_t high) { return (static_cast<std::uint64_t>(high) << 32) | low; }

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

CounterRng::CounterRng(std::uint64_t seed, std::string_view name) {
  const std::uint64_t hash = XXH64(name.data(), name.size(), seed);
  key_ = {static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(hash >> 32)};
}

std::uint64_t CounterRng::bits(std::uint64_t index) const {
  const auto block =
      philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 0}, key_);
  return join(block[0], block[1]);
}

double CounterRng::uniform(std::uint64_t index) const { return to_unit_interval(bits(index)); }

double CounterRng::normal(std::uint64_t index) const {
  const auto block =
      philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 0}, key_);
  const double radius = std::sqrt(-2.0 * std::log(to_unit_interval(join(block[0], block[1]))));
  return radius * std::cos(2.0 * std::numbers::pi * to_unit_interval(join(block[2], block[3])));
}

}  // namespace mudelta
