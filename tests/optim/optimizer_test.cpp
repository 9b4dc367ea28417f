// What an optimizer does beside its formula (sharded_optimizer_test.cpp has the trajectories), on one rank.

#include "optim/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "tests/support/compare.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const Stream kStream;

OptimizerConfig plain_sgd() {
  OptimizerConfig config;
  config.mutable_sgd()->set_momentum(0);
  config.mutable_sgd()->set_nesterov(false);
  return config;
}

// One vector of three elements, in a buffer of sixteen.
struct Vector {
  explicit Vector(const OptimizerConfig& config, DType dtype = DType::kFloat32, ParameterScaling scaling = {})
      : store({{.name = "w", .shape = {3}}}, dtype, {}, 1),
        shards(store, ProcessGroup::single(), 1 << 20),
        optimizer(config, initialized(store), shards, {scaling}, ProcessGroup::single()) {}

  static ParameterStore& initialized(ParameterStore& store) {
    Tensor& value = store.find("w").value;
    value.copy_from(Tensor::from(std::vector<float>{1, -2, 4}, {3}).to(value.dtype()));
    return store;
  }

  StepReport step(std::vector<float> gradient, double lr, double grad_clip = 0) {
    store.find("w").gradient.copy_from(Tensor::from(gradient, {3}));
    return optimizer.step(lr, grad_clip, kStream);
  }
  std::vector<double> value() { return testing::to_doubles(store.find("w").value); }

  ParameterStore store;
  ParameterShards shards;
  Optimizer optimizer;
};

TEST(Optimizer, PlainDescentByHand) {
  Vector w(plain_sgd());
  const StepReport report = w.step({2, 4, -4}, 0.25);
  EXPECT_EQ(report.gradient_norm, 6);
  EXPECT_FALSE(report.skipped);
  EXPECT_THAT(w.value(), ElementsAre(0.5, -3, 5));
}

TEST(Optimizer, AdamWsFirstStepMovesByTheLearningRate) {
  OptimizerConfig config;
  config.mutable_adamw()->set_weight_decay(0);
  Vector w(config);
  w.step({2, 4, -0.001f}, 0.25);
  EXPECT_TRUE(testing::close(w.value(), std::vector<double>{0.75, -2.25, 4.25}, 1e-5));
}

TEST(Optimizer, IsAdamWByDefault) {
  Vector w{OptimizerConfig()};
  EXPECT_EQ(w.optimizer.segments().at(0).state.at(1).first, "exp_avg");
  EXPECT_EQ(w.optimizer.segments().at(0).state.at(2).first, "exp_avg_sq");
  Vector sgd(plain_sgd());
  EXPECT_EQ(sgd.optimizer.segments().at(0).state.at(1).first, "momentum_buffer");
}

TEST(Optimizer, ClipsToTheNormGiven) {
  Vector clipped(plain_sgd());
  EXPECT_EQ(clipped.step({2, 4, -4}, 1.0, 3).gradient_norm, 6) << "reported before clipping";
  EXPECT_TRUE(testing::close(clipped.value(), std::vector<double>{0, -4, 6}, 1e-6));
  Vector within(plain_sgd());
  within.step({2, 4, -4}, 1.0, 7);
  EXPECT_THAT(within.value(), ElementsAre(-1, -6, 8));
}

TEST(Optimizer, WeighsTheNormThatItClips) {
  Vector w(plain_sgd(), DType::kFloat32, {.clip = 0.25});
  EXPECT_EQ(w.step({2, 4, -4}, 1.0, 1.5).gradient_norm, 3);
  EXPECT_TRUE(testing::close(w.value(), std::vector<double>{0, -4, 6}, 1e-6));
}

TEST(Optimizer, DecayFollowsItsOwnMultiplier) {
  OptimizerConfig config = plain_sgd();
  config.mutable_sgd()->set_weight_decay(0.5);
  Vector decays(config, DType::kFloat32, {.lr = 8, .decay = 2});
  decays.step({0, 0, 0}, 0.25);
  EXPECT_THAT(decays.value(), ElementsAre(0.75, -1.5, 3)) << "by lr 0.25 x weight_decay 0.5 x decay 2";
  Vector exempt(config, DType::kFloat32, {.lr = 8, .decay = 0});
  exempt.step({0, 0, 0}, 0.25);
  EXPECT_THAT(exempt.value(), ElementsAre(1, -2, 4));
}

TEST(Optimizer, LearningRateZeroMovesNothing) {
  Vector w{OptimizerConfig()};
  w.step({2, 4, -4}, 0);
  EXPECT_THAT(w.value(), ElementsAre(1, -2, 4));
  EXPECT_EQ(w.optimizer.num_updates(), 1);
}

TEST(Optimizer, ZeroGradientIsNoDivisionByZero) {
  Vector w{OptimizerConfig()};
  const StepReport report = w.step({0, 0, 0}, 0.1, 1.0);
  EXPECT_EQ(report.gradient_norm, 0);
  EXPECT_FALSE(report.skipped);
  EXPECT_THAT(w.value(), ElementsAre(1, -2, 4));
}

TEST(Optimizer, HugeGradientIsClippedNotSkipped) {
  Vector w(plain_sgd());
  const StepReport report = w.step({3e38f, 0, 3e38f}, 1.0, 1.0);  // their squares overflow float32
  EXPECT_FALSE(report.skipped);
  EXPECT_TRUE(testing::close(w.value(), std::vector<double>{1 - std::sqrt(0.5), -2, 4 - std::sqrt(0.5)}, 1e-6));
}

// [6, 4] cut along each dimension over two ranks, beside a vector that all four hold: as each rank would see it.
TEST(Optimizer, SlicesNormsMakeUpThatOfTheWhole) {
  const auto norm = [](std::vector<ParameterPart> parts) {
    ParameterStore store({{.name = "matrix", .shape = {6, 4}}, {.name = "gain", .shape = {3}}}, DType::kFloat32, {}, 1,
                         std::move(parts));
    for (const Parameter& parameter : store.parameters()) {
      for (std::int64_t i = 0; i < parameter.gradient.numel(); ++i) {
        parameter.gradient.data<float>()[i] = static_cast<float>(1 + parameter.slice_map().whole_index(i));
      }
    }
    ParameterShards shards(store, ProcessGroup::single(), 64);
    Optimizer optimizer(plain_sgd(), store, shards, {{.clip = 2}, {.clip = 3}}, ProcessGroup::single());
    return optimizer.step(0, 0, kStream).gradient_norm;
  };
  const double whole = norm({});
  EXPECT_DOUBLE_EQ(whole * whole, 2 * 4900 + 3 * 14);  // 1^2 + ... + 24^2 = 4900
  for (const auto& [dim, size] : {std::pair{0, 6}, std::pair{1, 4}}) {
    double squares = 0;
    for (int rank = 0; rank < 4; ++rank) {
      const std::int64_t begin = rank / 2 == 0 ? 0 : 1, end = rank / 2 == 0 ? 1 : size;
      const double local = norm({{.slice = {dim, begin, end}, .copies = 2, .copy = rank % 2},
                                 {.copies = 4, .copy = rank, .is_partial = true}});
      squares += local * local;
    }
    EXPECT_DOUBLE_EQ(std::sqrt(squares), whole);
  }
}

TEST(Optimizer, NeitherReadsNorWritesPadding) {
  Vector w{OptimizerConfig()};
  FlatGroup& group = w.store.groups()[0];
  ASSERT_GT(group.gradients.numel(), 3);
  for (std::int64_t i = 3; i < group.gradients.numel(); ++i) {
    group.gradients.data<float>()[i] = std::numeric_limits<float>::quiet_NaN();
  }
  EXPECT_EQ(w.step({2, 4, -4}, 0.1).gradient_norm, 6);
  for (std::int64_t i = 3; i < group.values.numel(); ++i) EXPECT_EQ(group.values.data<float>()[i], 0);
}

TEST(Optimizer, Float32ValuesAreTheirOwnMasters) {
  Vector w{OptimizerConfig()};
  EXPECT_EQ(w.optimizer.segments().at(0).state.at(0).second.raw(), w.store.find("w").value.raw());
}

TEST(Optimizer, MastersKeepWhatBFloat16Loses) {
  Vector w(plain_sgd(), DType::kBFloat16);
  for (int step = 0; step < 64; ++step) w.step({-1, 0, 0}, 1.0 / 1024);  // an eighth of bfloat16's spacing at 1
  EXPECT_THAT(w.value(), ElementsAre(1.0625, -2, 4));
}

TEST(Optimizer, WantsOneScalingPerParameter) {
  ParameterStore store({{.name = "w", .shape = {3}}}, DType::kFloat32, {}, 1);
  ParameterShards shards(store, ProcessGroup::single(), 1024);
  EXPECT_THAT([&] { Optimizer(OptimizerConfig(), store, shards, {}, ProcessGroup::single()); },
              ThrowsMessage<Error>(HasSubstr("0 scaling entries for 1 parameters")));
}

TEST(Optimizer, OfNothingSteps) {
  ParameterStore store({}, DType::kFloat32, {}, 1);
  ParameterShards shards(store, ProcessGroup::single(), 1024);
  Optimizer optimizer(OptimizerConfig(), store, shards, {}, ProcessGroup::single());
  EXPECT_EQ(optimizer.step(0.1, 1.0, kStream).gradient_norm, 0);
}

}  // namespace
}  // namespace mudelta
