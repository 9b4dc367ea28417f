#include "core/parameter_slice.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace mudelta {
namespace {

bool is_slice_of(const Shape& whole, const ParameterSlice& slice) {
  const auto [dim, begin, end] = slice;
  if (slice.is_whole()) return begin == 0 && end == 0;
  return dim >= 0 && dim < whole.rank() && begin >= 0 && begin <= end && end <= whole[dim];
}

Shape local_shape_of(const Shape& whole, const ParameterSlice& slice) {
  if (slice.is_whole()) return whole;
  std::array<std::int64_t, Shape::kMaxRank> sizes{};
  std::ranges::copy(whole.sizes(), sizes.begin());
  sizes[static_cast<std::size_t>(slice.dim)] = slice.end - slice.begin;
  return Shape(std::span<const std::int64_t>(sizes.data(), whole.sizes().size()));
}

}  // namespace

std::string ParameterSlice::to_string() const {
  return is_whole() ? "all" : fmt::format("indices {} to {} of dimension {}", begin, end, dim);
}

SliceMap::SliceMap(const Shape& whole, const ParameterSlice& slice) {
  require(is_slice_of(whole, slice), "slice {{dim {}, begin {}, end {}}}, expected a part of {}", slice.dim,
          slice.begin, slice.end, whole.to_string());
  local_shape_ = local_shape_of(whole, slice);
  numel_ = local_shape_.numel();
  if (numel_ == 0) return;
  std::int64_t inner = 1;  // elements between neighbours along the cut dimension
  for (int dim = slice.is_whole() ? 0 : slice.dim + 1; dim < whole.rank(); ++dim) inner *= whole[dim];
  row_ = slice.is_whole() ? inner : (slice.end - slice.begin) * inner;
  stride_ = slice.is_whole() ? inner : whole[slice.dim] * inner;
  first_ = slice.begin * inner;
}

std::int64_t SliceMap::num_before(std::int64_t whole) const {
  if (numel_ == 0) return 0;
  return whole / stride_ * row_ + std::clamp<std::int64_t>(whole % stride_ - first_, 0, row_);
}

void SliceMap::for_each_run(std::int64_t begin, std::int64_t end,
                            const std::function<void(const SliceRun&)>& visit) const {
  while (begin < end) {
    const std::int64_t numel = std::min(end - begin, row_ - begin % row_);
    visit({begin, whole_index(begin), numel});
    begin += numel;
  }
}

void for_each_common_run(
    const SliceRange& a, const SliceRange& b,
    const std::function<void(std::int64_t local_a, std::int64_t local_b, std::int64_t numel)>& visit) {
  if (b.begin == b.end) return;
  // Of `a`, only what lies between the first and the last of `b`.
  const std::int64_t begin = std::max(a.begin, a.map.num_before(b.map.whole_index(b.begin)));
  const std::int64_t end = std::min(a.end, a.map.num_before(b.map.whole_index(b.end - 1) + 1));
  a.map.for_each_run(begin, end, [&](const SliceRun& in_a) {
    const std::int64_t from = std::max(b.begin, b.map.num_before(in_a.whole));
    const std::int64_t to = std::min(b.end, b.map.num_before(in_a.whole + in_a.numel));
    b.map.for_each_run(
        from, to, [&](const SliceRun& in_b) { visit(in_a.local + (in_b.whole - in_a.whole), in_b.local, in_b.numel); });
  });
}

}  // namespace mudelta
