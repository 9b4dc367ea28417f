#include "data/permutation.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <bit>
#include <utility>

namespace mudelta {
namespace {

constexpr std::uint64_t kRounds = 8;

}  // namespace

Permutation::Permutation(std::int64_t size, std::uint64_t seed, std::int64_t epoch, std::string_view name)
    : rng_(seed, name.empty() ? fmt::format("data.order.{}", epoch) : fmt::format("data.order.{}.{}", name, epoch)),
      size_(static_cast<std::uint64_t>(size)),
      half_bits_((std::bit_width(size_ - 1) + 1) / 2) {
  CHECK_GT(size, 0);
}

std::int64_t Permutation::operator()(std::int64_t position) const {
  auto x = static_cast<std::uint64_t>(position);
  CHECK_LT(x, size_);
  do {
    x = encrypt(x);
  } while (x >= size_);
  return static_cast<std::int64_t>(x);
}

std::uint64_t Permutation::encrypt(std::uint64_t x) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = x >> half_bits_;
  std::uint64_t right = x & mask;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    left ^= rng_.bits(round << 32 | right) & mask;
    std::swap(left, right);
  }
  return left << half_bits_ | right;
}

}  // namespace mudelta
