// Initial values of slices. (tests/launch/train/initialization_test.cpp has those of a model.)

#include "optim/initialization.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/compare.h"

namespace mudelta {
namespace {

using Kind = Initializer::Kind;

std::vector<ParameterSpec> specs() {
  return {{.name = "matrix", .shape = {6, 7}, .fan_in = 7, .fan_out = 6, .initializer = {Kind::kNormal, 0.5}},
          {.name = "taps",
           .role = Role::kConv,
           .shape = {5, 3, 4},
           .keep_float32 = true,
           .initializer = {Kind::kUniform, -1, 1}},
          {.name = "A_log",
           .role = Role::kGateScalar,
           .shape = {9},
           .keep_float32 = true,
           .initializer = {Kind::kLogOfUniform, 0, 16}}};
}

// Values, and the float32 masters of the first parameter, of a store that holds `parts`.
struct Initialized {
  Initialized(DType dtype, std::vector<ParameterPart> parts, std::int64_t bucket_bytes)
      : store(specs(), dtype, {}, 1, std::move(parts)),
        shards(store, ProcessGroup::single(), bucket_bytes),
        optimizer({}, store, shards, parametrization.scaling(), ProcessGroup::single()) {
    initialize(store, optimizer, parametrization, 3, Stream());
    for (const Parameter& parameter : store.parameters()) masters.push_back(Tensor::zeros(parameter.value.shape()));
    for (const OptimizerSegment& segment : optimizer.segments()) {
      masters[segment.parameter].flat_view(segment.begin, {segment.numel}).copy_from(segment.state[0].second);
    }
  }

  Parametrization parametrization{{}, {}, specs(), specs(), {}};
  ParameterStore store;
  ParameterShards shards;
  Optimizer optimizer;
  std::vector<Tensor> masters;
};

TEST(SlicedInitialization, GivesEveryElementTheBitsThatItHasInTheWhole) {
  const std::vector<ParameterSlice> cuts[] = {
      {{0, 2, 5}, {0, 1, 4}, {0, 3, 9}},
      {{1, 2, 5}, {1, 1, 3}, {0, 0, 1}},
      {{1, 0, 7}, {2, 1, 4}, {}},
      {{1, 3, 3}, {2, 2, 3}, {0, 9, 9}},
  };
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Initialized whole(dtype, {}, 1 << 20);
    for (const std::vector<ParameterSlice>& slices : cuts) {
      std::vector<ParameterPart> parts;
      for (const ParameterSlice& slice : slices) parts.push_back({.slice = slice});
      const Initialized local(dtype, parts, 64);
      for (std::size_t p = 0; p < parts.size(); ++p) {
        const Parameter &part = local.store.parameters()[p], &all = whole.store.parameters()[p];
        for (std::int64_t i = 0; i < part.value.numel(); ++i) {
          const std::int64_t index = part.slice_map().whole_index(i);
          EXPECT_TRUE(testing::same_bits(part.value.flat_view(i, {1}), all.value.flat_view(index, {1})))
              << part.spec.name << " " << index;
          EXPECT_TRUE(testing::same_bits(local.masters[p].flat_view(i, {1}), whole.masters[p].flat_view(index, {1})))
              << part.spec.name << " " << index;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mudelta
