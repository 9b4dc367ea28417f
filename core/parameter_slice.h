#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "core/shape.h"

namespace mudelta {

// The part of a whole parameter that a rank holds: indices [begin, end) of one dimension.
struct ParameterSlice {
  int dim = -1;  // -1: all of the parameter; begin and end are 0 then
  std::int64_t begin = 0;
  std::int64_t end = 0;

  bool is_whole() const { return dim == -1; }
  std::string to_string() const;  // "all", "indices 16 to 32 of dimension 1"
  friend auto operator<=>(const ParameterSlice&, const ParameterSlice&) = default;
};

// What a rank holds of a parameter, and how many ranks of its tensor group hold the same: `copies` neighbours, tensor
// ranks copies x i to copies x (i + 1) - 1. Every parameter's gradient is summed over data x context; where
// `is_partial`, over these ranks as well, each of which has seen a part of what it depends on; elsewhere they have equal
// ones.
struct ParameterPart {
  ParameterSlice slice;
  int copies = 1;
  int copy = 0;  // this rank's number among them
  bool is_partial = false;
};

// Elements that lie side by side both in the flattened local part and in the flattened whole.
struct SliceRun {
  std::int64_t local;  // first of them in the part
  std::int64_t whole;  // first of them in the whole
  std::int64_t numel;
};

// Where the elements of a slice lie: the i-th of the flattened local part, which has the shape of the whole with the
// cut dimension shortened, is one of the flattened whole. Both are row-major.
class SliceMap {
 public:
  // Throws Error unless `slice` is one of a parameter of shape `whole`.
  SliceMap(const Shape& whole, const ParameterSlice& slice);

  const Shape& local_shape() const { return local_shape_; }
  std::int64_t numel() const { return numel_; }  // of the local part
  // The part is rows of so many elements, so far apart in the whole, from element first() of it on.
  std::int64_t row() const { return row_; }
  std::int64_t stride() const { return stride_; }
  std::int64_t first() const { return first_; }

  // In the whole, of element `local` of the part: 0 <= local < numel().
  std::int64_t whole_index(std::int64_t local) const {
    return local < row_ ? first_ + local : local / row_ * stride_ + first_ + local % row_;
  }
  // Elements of the part that lie before element `whole` of the whole.
  std::int64_t num_before(std::int64_t whole) const;
  // The runs of elements [begin, end) of the part, in order: one for each index of the dimensions before the cut one.
  void for_each_run(std::int64_t begin, std::int64_t end, const std::function<void(const SliceRun&)>& visit) const;

 private:
  Shape local_shape_;
  std::int64_t numel_ = 0, row_ = 0, stride_ = 0, first_ = 0;
};

// Elements [begin, end) of the flattened local part of a slice: 0 <= begin <= end <= map.numel().
struct SliceRange {
  SliceMap map;
  std::int64_t begin;
  std::int64_t end;
};

// Calls `visit` for each run of elements that both ranges of one parameter hold, in the whole's order, with the first
// one's place in each local part.
void for_each_common_run(
    const SliceRange& a, const SliceRange& b,
    const std::function<void(std::int64_t local_a, std::int64_t local_b, std::int64_t numel)>& visit);

}  // namespace mudelta
