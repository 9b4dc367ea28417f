#pragma once

#include <cstdint>
#include <string_view>

#include "core/rng.h"

namespace mudelta {

// A pseudo-random permutation of [0, size), keyed by (seed, epoch, name), in constant memory: a Feistel network on the
// next power of four, walked until it falls inside [0, size) (Black and Rogaway, "Ciphers with arbitrary finite
// domains", CT-RSA 2002). On average at most four walks are made.
class Permutation {
 public:
  Permutation(std::int64_t size, std::uint64_t seed, std::int64_t epoch, std::string_view name = "");

  std::int64_t operator()(std::int64_t position) const;

 private:
  std::uint64_t encrypt(std::uint64_t x) const;

  CounterRng rng_;
  std::uint64_t size_;
  int half_bits_;
};

}  // namespace mudelta
