#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace mudelta {

// Product of sizes that are not negative: of elements, bytes, tokens. Throws Error, naming them, if it is 2^63 or more.
std::int64_t product_of(std::span<const std::int64_t> sizes);
std::int64_t product_of(std::initializer_list<std::int64_t> sizes);

// Sizes of a tensor's dimensions, outermost first. At most kMaxRank of them; none is negative, and their product is
// less than 2^63.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes);  // NOLINT: {2, 3} reads as a shape
  explicit Shape(std::span<const std::int64_t> sizes);

  int rank() const { return rank_; }
  std::int64_t numel() const;
  // Negative indices count from the last dimension.
  std::int64_t operator[](int dim) const;
  std::span<const std::int64_t> sizes() const { return {sizes_.data(), static_cast<std::size_t>(rank_)}; }
  std::string to_string() const;  // "[2, 3]"

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<std::int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

}  // namespace mudelta
