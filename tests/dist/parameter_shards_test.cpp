// Cutting parameters into buckets and shards, and moving gradients and values. Run under mpirun with 1 to 4 ranks.

#include "dist/parameter_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/compare.h"

namespace mudelta {
namespace {

using ::testing::Each;

const Stream kStream;
constexpr std::int64_t kRun = 16;  // elements that are never cut apart
constexpr int kLastUnit = 2;
constexpr auto kStages = {0, 1, 2, 3};

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
  int stage;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << name_of(c.dtype) << " in " << c.bucket_bytes << " bytes at stage " << c.stage;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int stage : kStages) {
    for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{1000}, std::int64_t{4096}, std::int64_t{1} << 40}) {
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) all.push_back({dtype, bytes, stage});
    }
  }
  return all;
}

class Shards : public ::testing::TestWithParam<Case> {
 protected:
  const ProcessGroup world = ProcessGroup::world();
  const int stage = GetParam().stage;
  const std::int64_t least = kRun * world.size();
  ParameterStore store{odd_specs(), GetParam().dtype, {}, world.size(), {}, whole_buffers(stage)};
  ParameterShards shards{store, world, GetParam().bucket_bytes, ProcessGroup::single(), stage};

  // A backward pass that adds value(parameter, element) to the gradients, unit by unit.
  template <class Value>
  void pass(const Value& value, bool is_last) {
    for (int unit = kLastUnit; unit >= 0; --unit) {
      shards.open_gradients(unit, kStream);
      for (const Parameter& parameter : store.parameters()) {
        if (parameter.spec.unit != unit) continue;
        const auto gradient = parameter.gradient.span<float>();
        for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] += value(parameter.spec, i);
      }
      if (is_last || stage >= 2) shards.gradients_final(unit, kStream);
    }
  }

  // Calls visit(parameter's spec, element, its place in the shard) for what the shards hold of parameters.
  template <class Visit>
  void for_each_element(const Visit& visit) {
    for (const Shard& shard : shards.shards()) {
      for (const FlatGroup::Entry& entry : store.groups()[shard.range.group].entries) {
        const std::int64_t begin = std::max(shard.range.begin, entry.begin);
        for (std::int64_t i = begin; i < std::min(shard.range.end, entry.begin + entry.numel); ++i) {
          visit(store.parameters()[entry.parameter].spec, static_cast<std::size_t>(i - entry.begin), shard,
                static_cast<std::size_t>(i - shard.range.begin));
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Cases, Shards, ::testing::ValuesIn(cases()));

// Different for each element, and exact in bfloat16 and in sums over ranks.
float value_at(const ParameterSpec& spec, std::size_t i) {
  return static_cast<float>((i * 7 + spec.name.size()) % 120) - 60;
}

TEST_P(Shards, CutEachGroupFromItsEndWithoutGaps) {
  std::vector<std::int64_t> left;  // elements of each group that no bucket has taken yet
  for (const FlatGroup& group : store.groups()) left.push_back(group.numel);
  std::size_t number = 0, group = 0;
  const int parts = stage == 0 ? world.size() : 1;  // of a bucket, that this rank updates
  ASSERT_EQ(shards.shards().size() % static_cast<std::size_t>(parts), 0u);
  for (auto shard = shards.shards().begin(); shard != shards.shards().end(); shard += parts) {
    const std::int64_t numel = shard->range.end - shard->range.begin;
    const std::int64_t begin = shard->range.begin - (stage == 0 ? 0 : world.rank() * numel);
    const std::int64_t end = begin + world.size() * numel;
    EXPECT_GE(shard->range.group, group) << "groups follow each other";
    group = shard->range.group;
    EXPECT_EQ(end, left[group]);
    EXPECT_EQ((end - begin) % least, 0);
    EXPECT_GT(end, begin);
    EXPECT_LE((end - begin) * 4, std::max(GetParam().bucket_bytes, least * 4));
    for (int i = 0; i < parts; ++i) {
      EXPECT_EQ(shard[i].bucket, number);
      EXPECT_EQ(shard[i].is_own, stage > 0 || i == world.rank());
      EXPECT_EQ(shard[i].range.begin, shard->range.begin + i * numel);
      EXPECT_EQ(shard[i].values.numel(), numel);
      EXPECT_EQ(shard[i].values.dtype(), store.groups()[group].dtype);
      EXPECT_EQ(shard[i].gradients.numel(), numel);
    }
    ++number;
    left[group] = begin;
  }
  for (const std::int64_t elements : left) EXPECT_EQ(elements, 0);
}

// Passes count once each, whether their gradients are reduced as they become final or at the end. Before stage 2 a rank
// that leaves all to the end keeps in step.
TEST_P(Shards, HaveTheSumsOfAllPassesAndRanks) {
  const auto own = [&](float factor) {
    return [=, this](const ParameterSpec& spec, std::size_t i) {
      return value_at(spec, i) * factor * static_cast<float>(world.rank() + 1);
    };
  };
  const int rank_sum = world.size() * (world.size() + 1) / 2;
  for (int step = 1; step <= 2; ++step) {
    shards.zero_gradients();
    pass(own(2), false);
    pass(own(static_cast<float>(step)), step == 1 || world.rank() > 0);
    shards.finish_gradients(kStream);
    for_each_element([&](const ParameterSpec& spec, std::size_t i, const Shard& shard, std::size_t place) {
      ASSERT_EQ(shard.gradients.span<float>()[place], value_at(spec, i) * static_cast<float>(rank_sum * (2 + step)))
          << spec.name << " in step " << step;
    });
  }
}

TEST_P(Shards, GiveEveryRankTheOwnersValues) {
  const auto of_shard = [&](const Shard& shard, std::size_t place, float value) {
    dispatch_float(shard.values.dtype(), [&]<class T>() { shard.values.span<T>()[place] = static_cast<T>(value); });
  };
  for (int step = 0; step < 2; ++step) {
    for_each_element([&](const ParameterSpec& spec, std::size_t i, const Shard& shard, std::size_t place) {
      of_shard(shard, place, value_at(spec, i + static_cast<std::size_t>(step)));
    });
    if (step == 1 && !shards.shards().empty()) shards.gather_bucket(shards.shards().back().bucket, kStream);
    shards.gather_values(kStream);
    shards.read_units(std::vector{0, 1, 2}, {}, kStream);
    for (const Parameter& parameter : store.parameters()) {
      const auto values = testing::to_doubles(parameter.value);
      for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(values[i], value_at(parameter.spec, i + static_cast<std::size_t>(step))) << parameter.spec.name;
      }
    }
  }
}

// What is cut is whole only where it is used.
TEST_P(Shards, HoldWhatTheStageSays) {
  const auto have = [&](Tensor Parameter::*tensor) {
    std::vector<int> units;
    for (const Parameter& parameter : store.parameters()) {
      if (parameter.spec.shape.numel() == 0 || !(parameter.*tensor)) continue;
      if (units.empty() || units.back() != parameter.spec.unit) units.push_back(parameter.spec.unit);
    }
    return units;
  };
  using Units = std::vector<int>;
  const Units all = {0, 1, 2};
  EXPECT_EQ(have(&Parameter::value), stage < 3 ? all : Units());
  EXPECT_EQ(have(&Parameter::gradient), stage < 2 ? all : Units());
  shards.read_units(Units{0}, Units{1}, kStream);
  EXPECT_EQ(have(&Parameter::value), stage < 3 ? all : (Units{0, 1}));
  shards.read_units(Units{1}, Units{0, 2}, kStream);
  EXPECT_EQ(have(&Parameter::value), all) << "unit 0 stays: it is among the next";
  shards.read_units({}, Units{2}, kStream);
  EXPECT_EQ(have(&Parameter::value), stage < 3 ? all : Units{2});
  shards.open_gradients(2, kStream);
  shards.open_gradients(1, kStream);
  EXPECT_EQ(have(&Parameter::gradient), stage < 2 ? all : (Units{1, 2}));
  store.find("one").gradient.span<float>()[0] = 3;
  shards.open_gradients(1, kStream);
  EXPECT_EQ(store.find("one").gradient.span<float>()[0], 3) << "open already";
  shards.gradients_final(2, kStream);
  EXPECT_EQ(have(&Parameter::gradient), stage < 2 ? all : Units{1});
  shards.gather_values(kStream);
  EXPECT_EQ(have(&Parameter::value), stage < 3 ? all : Units()) << "others have changed them";
  // Opened anew, they are zeros.
  if (stage < 2) return;
  shards.gradients_final(1, kStream);
  shards.open_gradients(1, kStream);
  EXPECT_THAT(store.find("one").gradient.span<float>(), Each(0));
}

TEST(ShardsOfNothing, AreNone) {
  const ProcessGroup world = ProcessGroup::world();
  for (const int stage : kStages) {
    ParameterStore store({}, DType::kFloat32, {}, world.size(), {}, whole_buffers(stage));
    ParameterShards shards(store, world, 1024, ProcessGroup::single(), stage);
    EXPECT_TRUE(shards.shards().empty());
    shards.finish_gradients(kStream);
    shards.gather_values(kStream);
    shards.read_units(std::vector{0}, {}, kStream);
  }
}

// Every rank has all parameters, as on a tensor group, and a data group of its own. Of some, gradients are partial.
TEST(PartialGradients, AreSummedOverTheCopies) {
  const ProcessGroup world = ProcessGroup::world();
  const ParameterPart partial{.copies = world.size(), .copy = world.rank(), .is_partial = world.size() > 1};
  const ParameterPart equal{.copies = world.size(), .copy = world.rank()};
  const auto gradient_of = [](const Parameter& parameter, int rank) {
    return static_cast<float>(parameter.spec.name.size()) + (parameter.part.is_partial ? static_cast<float>(rank) : 0);
  };
  for (const int stage : kStages) {
    for (const std::int64_t bucket_bytes : {1, 1 << 20}) {
      ParameterStore store(odd_specs(), DType::kBFloat16, {}, 1, {partial, equal, partial, equal, partial, partial},
                           whole_buffers(stage));
      ParameterShards shards(store, ProcessGroup::single(), bucket_bytes, world, stage);
      shards.zero_gradients();
      for (int unit = kLastUnit; unit >= 0; --unit) {
        shards.open_gradients(unit, kStream);
        for (const Parameter& parameter : store.parameters()) {
          if (parameter.spec.unit != unit) continue;
          std::ranges::fill(parameter.gradient.span<float>(), gradient_of(parameter, world.rank()));
        }
        shards.gradients_final(unit, kStream);
      }
      shards.finish_gradients(kStream);
      for (const Shard& shard : shards.shards()) {
        for (const FlatGroup::Entry& entry : store.groups()[shard.range.group].entries) {
          const Parameter& parameter = store.parameters()[entry.parameter];
          const std::int64_t begin = std::max(shard.range.begin, entry.begin);
          const std::int64_t end = std::min(shard.range.end, entry.begin + entry.numel);
          if (begin >= end) continue;
          float expected = gradient_of(parameter, 0);
          for (int rank = 1; parameter.part.is_partial && rank < world.size(); ++rank) {
            expected += gradient_of(parameter, rank);
          }
          const Tensor sums = shard.gradients.slice(begin - shard.range.begin, end - shard.range.begin);
          EXPECT_THAT(sums.span<float>(), Each(expected)) << parameter.spec.name << " at stage " << stage;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mudelta
