#include "core/parameter_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "tests/support/compare.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

std::vector<ParameterSpec> three_specs() {
  return {{.name = "a", .shape = {3, 5}},
          {.name = "norm", .role = Role::kNorm, .shape = {17}, .keep_float32 = true},
          {.name = "b", .shape = {2, 2, 4}}};
}

bool all_zero(const Tensor& tensor) {
  const auto values = testing::to_doubles(tensor);
  return std::ranges::all_of(values, [](double x) { return x == 0; });
}

TEST(ParameterStore, OneGroupInFloat32) {
  ParameterStore store(three_specs(), DType::kFloat32, {}, 1);
  EXPECT_EQ(store.num_elements(), 15 + 17 + 16);
  ASSERT_EQ(store.groups().size(), 1u);
  const FlatGroup& group = store.groups()[0];
  EXPECT_EQ(group.dtype, DType::kFloat32);
  ASSERT_EQ(group.entries.size(), 3u);
  const std::int64_t begins[] = {0, 16, 48};  // each on a multiple of 16 elements
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(group.entries[i].parameter, i);
    EXPECT_EQ(group.entries[i].begin, begins[i]);
    EXPECT_EQ(group.entries[i].numel, store.parameters()[i].spec.shape.numel());
  }
  EXPECT_EQ(group.values.to_string(), "float32[64]");
  EXPECT_EQ(group.gradients.to_string(), "float32[64]");
}

TEST(ParameterStore, UnitsAreRangesThatCanBeCutEvenly) {
  std::vector<ParameterSpec> specs = three_specs();
  specs[0].unit = 2;
  specs[2].unit = 5;
  ParameterStore store(specs, DType::kFloat32, {}, 3);
  const FlatGroup& group = store.groups()[0];
  ASSERT_EQ(group.units.size(), 3u);
  const std::size_t parameters[] = {1, 0, 2};
  for (int i = 0; i < 3; ++i) {
    const auto& [unit, begin, end, values, gradients] = group.units[static_cast<std::size_t>(i)];
    const FlatGroup::Entry& entry = group.entries[static_cast<std::size_t>(i)];
    EXPECT_EQ(entry.parameter, parameters[i]) << "in the order of units";
    EXPECT_EQ(unit, specs[entry.parameter].unit);
    EXPECT_EQ(begin, entry.begin);
    EXPECT_EQ(begin, 48 * i);
    EXPECT_EQ(end, 48 * (i + 1));
    EXPECT_EQ(values.raw(), group.values.slice(begin, end).raw());
    EXPECT_EQ(gradients.raw(), store.parameters()[entry.parameter].gradient.raw());
  }
  EXPECT_EQ(group.values.numel(), 144);
}

TEST(ParameterStore, HasWhatItIsLent) {
  std::vector<ParameterSpec> specs = three_specs();
  specs[1].unit = 1;
  ParameterStore store(specs, DType::kFloat32, {}, 1, {}, {.values = false, .gradients = false});
  const FlatGroup& group = store.groups()[0];
  EXPECT_EQ(group.numel, 64);
  EXPECT_FALSE(group.values || group.gradients || store.find("a").value || store.find("a").gradient);
  const Tensor buffer = Tensor::zeros({32});
  store.lend_values(0, 0, buffer);
  EXPECT_EQ(store.find("b").value.to_string(), "float32[2, 2, 4]");
  EXPECT_EQ(store.find("b").value.data<float>(), buffer.data<float>() + 16);
  EXPECT_FALSE(store.find("norm").value || store.find("b").gradient);
  store.lend_gradients(0, 1, buffer);
  EXPECT_EQ(store.find("norm").gradient.data<float>(), buffer.data<float>());
  store.lend_values(0, 0, {});
  EXPECT_FALSE(store.find("a").value || group.units[0].values);
  store.zero_gradients();
}

TEST(ParameterStore, PartialGradientsAreNeighbours) {
  std::vector<ParameterPart> parts(3);
  parts[0] = {.copies = 2, .is_partial = true};
  ParameterStore store(three_specs(), DType::kFloat32, {}, 1, parts);
  std::vector<std::size_t> order;
  for (const FlatGroup::Entry& entry : store.groups()[0].entries) order.push_back(entry.parameter);
  EXPECT_EQ(order, (std::vector<std::size_t>{1, 2, 0}));
}

TEST(ParameterStore, ElementsMustBeCountable) {
  const Shape large = {std::int64_t{1} << 59};
  EXPECT_THAT(error_of([&] {
                ParameterStore({{.name = "a", .shape = large}, {.name = "b", .shape = large}}, DType::kFloat32, {}, 1);
              }),
              HasSubstr("up to b there are"));
}

TEST(ParameterStore, GroupsByDType) {
  ParameterStore store(three_specs(), DType::kBFloat16, {}, 4);
  ASSERT_EQ(store.groups().size(), 2u);
  EXPECT_EQ(store.groups()[0].dtype, DType::kBFloat16);
  EXPECT_EQ(store.groups()[0].values.to_string(), "bfloat16[64]");
  EXPECT_EQ(store.groups()[0].gradients.to_string(), "float32[64]");
  ASSERT_EQ(store.groups()[0].entries.size(), 2u);
  EXPECT_EQ(store.groups()[0].entries[1].parameter, 2u);
  EXPECT_EQ(store.groups()[1].dtype, DType::kFloat32);
  EXPECT_EQ(store.groups()[1].values.to_string(), "float32[64]");  // 17 elements over four shards of 16
  EXPECT_EQ(store.find("norm").value.dtype(), DType::kFloat32);
  EXPECT_EQ(store.find("a").value.dtype(), DType::kBFloat16);
  EXPECT_EQ(store.find("a").gradient.dtype(), DType::kFloat32);
}

TEST(ParameterStore, ParametersAreViewsOfTheFlatBuffers) {
  ParameterStore store(three_specs(), DType::kFloat32, {}, 2);
  FlatGroup& group = store.groups()[0];
  for (const FlatGroup::Entry& entry : group.entries) {
    const Parameter& parameter = store.parameters()[entry.parameter];
    EXPECT_EQ(parameter.value.shape(), parameter.spec.shape);
    EXPECT_EQ(parameter.value.data<float>(), group.values.data<float>() + entry.begin);
    EXPECT_EQ(parameter.gradient.data<float>(), group.gradients.data<float>() + entry.begin);
  }
  EXPECT_TRUE(all_zero(group.values));
  EXPECT_TRUE(all_zero(group.gradients));
}

TEST(ParameterStore, ZeroGradientsLeavesValues) {
  ParameterStore store(three_specs(), DType::kBFloat16, {}, 1);
  for (Parameter& parameter : store.parameters()) {
    std::ranges::fill(parameter.gradient.span<float>(), 3.0f);
  }
  store.find("norm").value.data<float>()[0] = 2;
  store.zero_gradients();
  for (const FlatGroup& group : store.groups()) EXPECT_TRUE(all_zero(group.gradients));
  EXPECT_EQ(store.find("norm").value.data<float>()[0], 2);
}

TEST(ParameterStore, HoldsParts) {
  const std::vector<ParameterPart> parts = {
      {.slice = {1, 2, 5}}, {.copies = 2, .copy = 1}, {.slice = {0, 1, 1}, .copies = 1}};
  ParameterStore store(three_specs(), DType::kFloat32, {}, 1, parts);
  const FlatGroup& group = store.groups()[0];
  const Shape shapes[] = {{3, 3}, {17}, {0, 2, 4}};
  for (std::size_t i = 0; i < 3; ++i) {
    const Parameter& parameter = store.parameters()[i];
    EXPECT_EQ(parameter.value.shape(), shapes[i]);
    EXPECT_EQ(parameter.gradient.shape(), shapes[i]);
    EXPECT_EQ(parameter.spec.shape, three_specs()[i].shape);
    EXPECT_EQ(group.entries[i].numel, shapes[i].numel());
    EXPECT_EQ(parameter.part.slice, parts[i].slice);
    EXPECT_EQ(parameter.part.copy, parts[i].copy);
  }
  EXPECT_EQ(group.values.to_string(), "float32[48]");
  EXPECT_EQ(store.num_elements(), 15 + 17 + 16) << "of the whole model";
}

TEST(ParameterStore, PartsMustFitTheirParameters) {
  const auto error_with = [](const std::vector<ParameterPart>& parts) {
    return error_of([&] { ParameterStore(three_specs(), DType::kFloat32, {}, 1, parts); });
  };
  EXPECT_THAT(error_with({{}, {}}), HasSubstr("2 parts of 3 parameters"));
  EXPECT_THAT(error_with({{}, {}, {.slice = {1, 0, 3}}}),
              HasSubstr("b: slice {dim 1, begin 0, end 3}, expected a part of [2, 2, 4]"));
  EXPECT_THAT(error_with({{}, {.copies = 2, .copy = 2}, {}}), HasSubstr("norm: copy 2 of 2"));
  EXPECT_THAT(error_with({{}, {.copies = 0}, {}}), HasSubstr("norm: copy 0 of 0"));
}

TEST(ParameterStore, KeepsItsBuffersWhenMoved) {
  ParameterStore first(three_specs(), DType::kFloat32, {}, 3);
  const float* data = first.find("b").value.data<float>();
  ParameterStore second(std::move(first));
  EXPECT_EQ(second.find("b").value.data<float>(), data);
  EXPECT_EQ(second.num_shards(), 3);
}

TEST(ParameterStore, Empty) {
  ParameterStore store({}, DType::kFloat32, {}, 2);
  EXPECT_TRUE(store.groups().empty());
  EXPECT_EQ(store.num_elements(), 0);
  store.zero_gradients();
}

TEST(ParameterStore, Errors) {
  std::vector<ParameterSpec> twice = three_specs();
  twice[2].name = "a";
  EXPECT_THAT(error_of([&] { ParameterStore(twice, DType::kFloat32, {}, 1); }),
              HasSubstr("two parameters are named a"));
  EXPECT_THAT(error_of([] { ParameterStore({}, DType::kFloat32, {}, 0); }), HasSubstr("num_shards is 0"));
  ParameterStore store(three_specs(), DType::kFloat32, {}, 1);
  EXPECT_THAT(error_of([&] { store.find("missing"); }), HasSubstr("missing"));
}

RC_GTEST_PROP(ParameterStore, EntriesFillTheBufferInOrder, ()) {
  const auto sizes = *rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(0, 200));
  const auto num_shards = *rc::gen::inRange(1, 9);
  std::vector<ParameterSpec> specs;
  for (const std::int64_t size : sizes) {
    const int number = static_cast<int>(specs.size());
    specs.push_back({.name = std::to_string(number), .unit = number / 3, .shape = {size}});
  }
  ParameterStore store(specs, DType::kFloat32, {}, num_shards);
  for (const FlatGroup& group : store.groups()) {
    std::int64_t end = 0, unit_end = 0;
    auto unit = group.units.begin();
    for (const FlatGroup::Entry& entry : group.entries) {
      if (specs[entry.parameter].unit != unit->unit) {
        RC_ASSERT(unit->end >= end && unit->end < end + 16 * (num_shards + 1));
        end = unit_end = unit->end;
        ++unit;
        RC_ASSERT(unit->unit == specs[entry.parameter].unit && unit->begin == unit_end);
      }
      RC_ASSERT(entry.begin % 16 == 0);
      RC_ASSERT(entry.begin >= end && entry.begin < end + 16);
      end = entry.begin + entry.numel;
      RC_ASSERT(unit->end % (16 * num_shards) == 0);
    }
    if (group.entries.empty()) continue;
    RC_ASSERT(std::next(unit) == group.units.end());
    RC_ASSERT(group.values.numel() == unit->end);
    RC_ASSERT(unit->end >= end && unit->end < end + 16 * (num_shards + 1));
  }
}

}  // namespace
}  // namespace mudelta
