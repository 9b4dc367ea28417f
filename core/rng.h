#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace mudelta {

// Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

// A stateless stream of random numbers keyed by (seed, name): number `index` is the same on every rank, in every
// layout and in any order of asking.
class CounterRng {
 public:
  CounterRng(std::uint64_t seed, std::string_view name);

  std::uint64_t bits(std::uint64_t index) const;
  double uniform(std::uint64_t index) const;  // in the open interval (0, 1)
  double normal(std::uint64_t index) const;   // standard normal, by Box and Muller's transform

 private:
  std::array<std::uint32_t, 2> key_;
};

}  // namespace mudelta
