#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace mudelta {

std::int64_t product_of(std::span<const std::int64_t> sizes) {
  std::int64_t product = 1;
  for (const std::int64_t size : sizes) {
    if (__builtin_mul_overflow(product, size, &product)) {
      fail("{} is 2^63 or more: too much to be counted", fmt::join(sizes, " x "));
    }
  }
  return product;
}

std::int64_t product_of(std::initializer_list<std::int64_t> sizes) {
  return product_of(std::span(sizes.begin(), sizes.size()));
}

Shape::Shape(std::initializer_list<std::int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}

Shape::Shape(std::span<const std::int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
  require(sizes.size() <= kMaxRank, "[shape] {} dimensions given, at most {} are supported", sizes.size(), kMaxRank);
  for (int dim = 0; dim < rank_; ++dim) {
    sizes_[dim] = sizes[dim];
    require(sizes[dim] >= 0, "[shape] dimension {} is {}, expected >= 0", dim, sizes[dim]);
  }
  product_of(sizes);
}

std::int64_t Shape::numel() const {
  std::int64_t product = 1;
  for (const std::int64_t size : sizes()) product *= size;
  return product;
}

std::int64_t Shape::operator[](int dim) const {
  const int index = dim < 0 ? dim + rank_ : dim;
  if (index < 0 || index >= rank_) fail("[shape] dimension {} asked of {}", dim, to_string());
  return sizes_[index];
}

std::string Shape::to_string() const { return fmt::format("[{}]", fmt::join(sizes(), ", ")); }

bool operator==(const Shape& a, const Shape& b) { return std::ranges::equal(a.sizes(), b.sizes()); }

}  // namespace mudelta
