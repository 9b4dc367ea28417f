#include "core/parameter_slice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

// The whole's index of every element of a slice, by the definition: all indices of the whole in their order, those
// left out whose index of the cut dimension is not in the slice.
std::vector<std::int64_t> naive_indices(const Shape& whole, const ParameterSlice& slice) {
  std::vector<std::int64_t> indices;
  for (std::int64_t flat = 0; flat < whole.numel(); ++flat) {
    std::int64_t rest = flat, index = 0;
    for (int dim = whole.rank() - 1; dim >= std::max(slice.dim, 0); --dim) {
      index = rest % whole[dim];
      rest /= whole[dim];
    }
    if (slice.is_whole() || (slice.begin <= index && index < slice.end)) indices.push_back(flat);
  }
  return indices;
}

// One of [begin, end), the first cases like the last ones.
std::int64_t any_of(std::int64_t begin, std::int64_t end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(begin, end));
}

Shape some_shape() {
  const auto sizes = *rc::gen::container<std::vector<std::int64_t>>(
      *rc::gen::element<std::size_t>(0, 1, 2, 3, 3, 4), rc::gen::element<std::int64_t>(0, 1, 2, 2, 3, 3, 4, 5, 5));
  return Shape(std::span<const std::int64_t>(sizes));
}

ParameterSlice some_slice(const Shape& whole) {
  const auto dim = static_cast<int>(any_of(-1, whole.rank()));
  if (dim == -1) return {};
  const std::int64_t begin = any_of(0, whole[dim] + 1);
  return {dim, begin, any_of(begin, whole[dim] + 1)};
}

SliceRange some_range(const SliceMap& map) {
  const std::int64_t begin = any_of(0, map.numel() + 1);
  return {map, begin, any_of(begin, map.numel() + 1)};
}

RC_GTEST_PROP(ParameterSlice, IsWhereTheDefinitionSays, ()) {
  const Shape whole = some_shape();
  const ParameterSlice slice = some_slice(whole);
  const SliceMap map(whole, slice);
  const std::vector<std::int64_t> indices = naive_indices(whole, slice);
  RC_ASSERT(map.numel() == std::ssize(indices));
  RC_ASSERT(map.local_shape().numel() == map.numel());
  for (int dim = 0; dim < whole.rank(); ++dim) {
    RC_ASSERT(map.local_shape()[dim] == (dim == slice.dim ? slice.end - slice.begin : whole[dim]));
  }
  for (std::int64_t i = 0; i < map.numel(); ++i) RC_ASSERT(map.whole_index(i) == indices[static_cast<std::size_t>(i)]);
  for (std::int64_t i = 0; i <= whole.numel(); ++i) {
    RC_ASSERT(map.num_before(i) == std::ranges::lower_bound(indices, i) - indices.begin());
  }

  const auto [same, begin, end] = some_range(map);
  std::int64_t next = begin;
  int num_runs = 0;
  same.for_each_run(begin, end, [&](const SliceRun& run) {
    RC_ASSERT(run.local == next);
    RC_ASSERT(run.numel > 0);
    for (std::int64_t i = 0; i < run.numel; ++i) {
      RC_ASSERT(run.whole + i == indices[static_cast<std::size_t>(run.local + i)]);
    }
    next += run.numel;
    ++num_runs;
  });
  RC_ASSERT(next == end);
  if (slice.dim <= 0) RC_ASSERT(num_runs == (begin < end ? 1 : 0));
}

RC_GTEST_PROP(ParameterSlice, CommonRunsAreTheElementsOfBoth, ()) {
  const Shape whole = some_shape();
  const ParameterSlice slice_a = some_slice(whole), slice_b = some_slice(whole);
  const SliceRange a = some_range(SliceMap(whole, slice_a)), b = some_range(SliceMap(whole, slice_b));
  using Pair = std::pair<std::int64_t, std::int64_t>;
  const std::vector<std::int64_t> in_a = naive_indices(whole, slice_a), in_b = naive_indices(whole, slice_b);
  std::vector<Pair> expected, visited;
  for (std::int64_t i = a.begin; i < a.end; ++i) {
    for (std::int64_t j = b.begin; j < b.end; ++j) {
      if (in_a[static_cast<std::size_t>(i)] == in_b[static_cast<std::size_t>(j)]) expected.emplace_back(i, j);
    }
  }
  for_each_common_run(a, b, [&](std::int64_t local_a, std::int64_t local_b, std::int64_t numel) {
    for (std::int64_t i = 0; i < numel; ++i) visited.emplace_back(local_a + i, local_b + i);
  });
  RC_ASSERT(visited == expected);
}

TEST(ParameterSlice, OneRunARow) {
  const SliceMap columns({4, 6}, {1, 2, 5});
  std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t>> runs;
  columns.for_each_run(2, 8, [&](const SliceRun& run) { runs.emplace_back(run.local, run.whole, run.numel); });
  EXPECT_THAT(runs, ::testing::ElementsAre(std::tuple(2, 4, 1), std::tuple(3, 8, 3), std::tuple(6, 14, 2)));
}

// Nothing overflows and nothing walks where there are very many elements, or would be but for a 0.
TEST(ParameterSlice, HugeShapes) {
  constexpr std::int64_t kMany = std::int64_t{1} << 40;
  const SliceMap columns({kMany, 4, kMany / (1 << 20)}, {1, 1, 3});
  EXPECT_EQ(columns.whole_index(columns.numel() - 1), 3 * (kMany >> 20) - 1 + (kMany - 1) * 4 * (kMany >> 20));
  const SliceMap few({kMany, 4, kMany / (1 << 20)}, {0, kMany - 1, kMany});
  int runs = 0;
  for_each_common_run({columns, 0, columns.numel()}, {few, 0, few.numel()}, [&](auto, auto, auto) { ++runs; });
  EXPECT_EQ(runs, 1);
  const SliceMap none({0, kMany, kMany}, {1, 0, kMany});
  EXPECT_EQ(none.numel(), 0);
  EXPECT_EQ(none.num_before(0), 0);
}

TEST(ParameterSlice, Errors) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (const ParameterSlice& slice : std::vector<ParameterSlice>{
           {2, 0, 1}, {-2, 0, 1}, {-1, 0, 3}, {1, -1, 2}, {1, 2, 1}, {1, 0, 6}, {0, 0, kMost}, {1, -kMost, kMost}}) {
    EXPECT_THAT(error_of([&] {
                  SliceMap({3, 5}, slice);
                }),
                HasSubstr("expected a part of [3, 5]"))
        << slice.to_string();
  }
  EXPECT_THAT(error_of([&] { SliceMap({3, 5}, {1, 4, 6}); }), HasSubstr("slice {dim 1, begin 4, end 6}"));
}

}  // namespace
}  // namespace mudelta
