// Cutting flat buffers into buckets and parts, and moving gradients and values. Run under mpirun with 1 to 4 ranks.

#include "dist/parameter_shards.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/compare.h"

namespace mudelta {
namespace {

const Stream kStream;
constexpr std::int64_t kRun = 16;  // elements that are never cut apart

// Odd sizes, some of which end in padding, in three units; two groups if the compute dtype is bfloat16.
std::vector<ParameterSpec> odd_specs() {
  return {{.name = "embedding", .unit = 0, .shape = {67, 13}},
          {.name = "gain", .unit = 1, .shape = {13}, .keep_float32 = true},
          {.name = "empty", .unit = 1, .shape = {0, 5}},
          {.name = "one", .unit = 1, .shape = {1}},
          {.name = "matrix", .unit = 2, .shape = {31, 33}},
          {.name = "bias", .unit = 2, .shape = {33}, .keep_float32 = true}};
}

struct Case {
  DType dtype;
  std::int64_t bucket_bytes;
};
void PrintTo(const Case& c, std::ostream* out) { *out << name_of(c.dtype) << " in " << c.bucket_bytes << " bytes"; }

class Buckets : public ::testing::TestWithParam<Case> {
 protected:
  const ProcessGroup world = ProcessGroup::world();
  const std::int64_t unit = kRun * world.size();
  ParameterStore store{odd_specs(), GetParam().dtype, {}, world.size()};
  ParameterShards shards{store, world, GetParam().bucket_bytes};

  // The bucket that this rank's part belongs to.
  FlatRange whole(const FlatRange& part) const {
    const std::int64_t numel = part.end - part.begin;
    const std::int64_t begin = part.begin - world.rank() * numel;
    return {part.group, begin, begin + world.size() * numel};
  }
};

INSTANTIATE_TEST_SUITE_P(Sizes, Buckets,
                         ::testing::Values(Case{DType::kFloat32, 1}, Case{DType::kFloat32, 1000},
                                           Case{DType::kFloat32, 4096}, Case{DType::kFloat32, std::int64_t{1} << 40},
                                           Case{DType::kBFloat16, 1}, Case{DType::kBFloat16, 1000},
                                           Case{DType::kBFloat16, 1 << 20}));

TEST_P(Buckets, CutEachGroupFromItsEndWithoutGaps) {
  std::vector<std::int64_t> left;  // elements of each group that no bucket has taken yet
  for (const FlatGroup& group : store.groups()) left.push_back(group.values.numel());
  std::size_t group = 0;
  for (const FlatRange& part : shards.owned()) {
    const FlatRange bucket = whole(part);
    EXPECT_GE(bucket.group, group) << "groups follow each other";
    group = bucket.group;
    EXPECT_EQ(bucket.end, left[group]);
    EXPECT_EQ((bucket.end - bucket.begin) % unit, 0);
    EXPECT_GT(bucket.end, bucket.begin);
    EXPECT_LE((bucket.end - bucket.begin) * 4, std::max(GetParam().bucket_bytes, unit * 4));
    left[group] = bucket.begin;
  }
  for (const std::int64_t elements : left) EXPECT_EQ(elements, 0);
}

// Parts reduced before the end count once, and not before their units' gradients are final; a rank that leaves all
// to the end keeps in step.
TEST_P(Buckets, ReduceWhatIsFinalBeforeTheRest) {
  const int rank_sum = world.size() * (world.size() + 1) / 2;
  for (int step = 1; step <= 2; ++step) {
    store.zero_gradients();
    for (int last = 2; last >= 0; --last) {
      for (const Parameter& parameter : store.parameters()) {
        if (parameter.spec.unit != last) continue;
        const auto gradient = parameter.gradient.span<float>();
        std::ranges::fill(gradient, static_cast<float>(world.rank() + 1) * static_cast<float>(step));
      }
      if (step == 1 || world.rank() > 0) shards.reduce_scatter_final(last, kStream);
    }
    shards.reduce_scatter_gradients(kStream);
    for (const FlatRange& part : shards.owned()) {
      const FlatGroup& group = store.groups()[part.group];
      for (const FlatGroup::Entry& entry : group.entries) {
        for (std::int64_t i = std::max(part.begin, entry.begin); i < std::min(part.end, entry.begin + entry.numel);
             ++i) {
          ASSERT_EQ(group.gradients.data<float>()[i], static_cast<float>(rank_sum * step)) << "step " << step;
        }
      }
    }
  }
}

TEST_P(Buckets, SumGradientsIntoTheOwnedRanges) {
  const auto value = [](std::int64_t rank, std::int64_t i) { return static_cast<float>((rank + 1) * (i % 251 - 99)); };
  const int rank_sum = world.size() * (world.size() + 1) / 2;
  for (FlatGroup& group : store.groups()) {
    const auto gradients = group.gradients.span<float>();
    for (std::size_t i = 0; i < gradients.size(); ++i) gradients[i] = value(world.rank(), static_cast<std::int64_t>(i));
  }
  shards.reduce_scatter_gradients(kStream);
  for (const FlatRange& part : shards.owned()) {
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      ASSERT_EQ(store.groups()[part.group].gradients.data<float>()[i], static_cast<float>(rank_sum) * value(0, i));
    }
  }
}

TEST_P(Buckets, GiveEveryRankTheOwnersValues) {
  const auto value = [](std::int64_t i) { return static_cast<float>(i % 255 - 127); };  // exact in bfloat16
  std::vector<Tensor> expected;
  for (const FlatGroup& group : store.groups()) {
    const Tensor all = Tensor::empty(group.values.shape());
    for (std::int64_t i = 0; i < all.numel(); ++i) all.data<float>()[i] = value(i);
    expected.push_back(all.to(group.dtype));
    group.values.fill_zero();
  }
  for (const FlatRange& part : shards.owned()) {
    const Shape shape{part.end - part.begin};
    store.groups()[part.group]
        .values.flat_view(part.begin, shape)
        .copy_from(expected[part.group].flat_view(part.begin, shape));
  }
  shards.all_gather_values(kStream);
  for (std::size_t g = 0; g < expected.size(); ++g) {
    EXPECT_TRUE(testing::same_bits(store.groups()[g].values, expected[g]));
  }
}

TEST(BucketsOfNothing, AreNone) {
  const ProcessGroup world = ProcessGroup::world();
  ParameterStore store({}, DType::kFloat32, {}, world.size());
  ParameterShards shards(store, world, 1024);
  EXPECT_TRUE(shards.owned().empty());
  shards.reduce_scatter_gradients(kStream);
  shards.all_gather_values(kStream);
}

}  // namespace
}  // namespace mudelta
