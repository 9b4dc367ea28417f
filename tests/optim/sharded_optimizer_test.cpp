// Gradients reduced in buckets and sharded updates, against one plain loop over whole parameters in double.
// Run under mpirun with 1 to 4 ranks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "optim/newton_schulz.h"
#include "optim/optimizer.h"
#include "tests/support/compare.h"
#include "tests/support/reference_optimizer.h"
#include "tests/support/replica.h"

namespace mudelta {
namespace {

using ::testing::Each;
using ::testing::Eq;
using testing::Replica;

constexpr double kLr = 0.01;
constexpr int kSteps = 5;

OptimizerConfig adamw_config() {
  OptimizerConfig config;
  config.mutable_adamw()->set_eps(0.05);  // large enough for its multiplier to show
  config.mutable_adamw()->set_weight_decay(0.3);
  return config;
}

OptimizerConfig sgd_config(bool nesterov) {
  OptimizerConfig config;
  config.mutable_sgd()->set_momentum(0.9);
  config.mutable_sgd()->set_nesterov(nesterov);
  config.mutable_sgd()->set_weight_decay(0.3);
  return config;
}

OptimizerConfig muon_config() {
  OptimizerConfig config;
  MuonConfig& muon = *config.mutable_muon();
  muon.set_lr(kLr);
  muon.set_weight_decay(0.3);
  muon.set_orthogonalize_dtype(MuonConfig::FLOAT32);
  *muon.mutable_adamw() = adamw_config().adamw();
  muon.mutable_adamw()->set_lr(2 * kLr);
  return config;
}

// The whole model, trained by the formulas on the sum of all ranks' gradients.
class Reference {
 public:
  Reference(const OptimizerConfig& config, std::span<const Parameter> parameters)
      : config_(config), parameters_(parameters), scaling_(Replica::scaling()) {
    for (const Parameter& parameter : parameters_) {
      values_.push_back(testing::to_doubles(parameter.value));
      adamw_.push_back({config.adamw().beta1(), config.adamw().beta2(), {}, {}});
      sgd_.push_back({config.sgd().momentum(), config.sgd().nesterov(), {}});
      muon_.emplace_back(values_.back().size());
    }
  }

  // Returns the norm of the summed gradient, each square weighed as its parameter's scaling says.
  double step(int step, int num_ranks, double grad_clip) {
    std::vector<std::vector<double>> gradients;
    double sum_of_squares = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& parameter = parameters_[i];
      std::vector<double> gradient(static_cast<std::size_t>(parameter.spec.shape.numel()));
      for (int rank = 0; rank < num_ranks; ++rank) {
        const auto local = testing::to_doubles(Replica::local_gradient(parameter, rank, step));
        std::ranges::transform(gradient, local, gradient.begin(), std::plus<>());
      }
      for (const double g : gradient) sum_of_squares += scaling_[i].clip * g * g;
      gradients.push_back(std::move(gradient));
    }
    const double norm = std::sqrt(sum_of_squares);
    const double factor = grad_clip > 0 && norm > grad_clip ? grad_clip / (norm + 1e-6) : 1;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      for (double& g : gradients[i]) g *= factor;
      update(i, gradients[i]);
    }
    return norm;
  }

  const std::vector<double>& value(std::size_t i) const { return values_[i]; }

 private:
  void update(std::size_t i, std::span<const double> gradient) {
    const ParameterScaling& scaling = scaling_[i];
    if (config_.has_muon()) {
      if (parameters_[i].spec.role == Role::kHidden) return muon(i, gradient);
      const AdamWConfig& adamw = config_.muon().adamw();
      adamw_[i].step(values_[i], gradient, adamw.lr() * scaling.lr, adamw.eps() * scaling.eps,
                     adamw.lr() * adamw.weight_decay() * scaling.decay);
    } else if (config_.has_sgd()) {
      sgd_[i].step(values_[i], gradient, kLr * scaling.lr, kLr * config_.sgd().weight_decay() * scaling.decay);
    } else {
      adamw_[i].step(values_[i], gradient, kLr * scaling.lr, config_.adamw().eps() * scaling.eps,
                     kLr * config_.adamw().weight_decay() * scaling.decay);
    }
  }

  void muon(std::size_t i, std::span<const double> gradient) {
    const MuonConfig& muon = config_.muon();
    const Shape& shape = parameters_[i].spec.shape;
    if (shape.numel() == 0) return;
    const Tensor direction = Tensor::empty(shape);
    for (std::size_t j = 0; j < gradient.size(); ++j) {
      double& average = muon_[i][j];
      average = muon.momentum() * average + (1 - muon.momentum()) * gradient[j];
      direction.data<float>()[j] = static_cast<float>((1 - muon.momentum()) * gradient[j] + muon.momentum() * average);
    }
    orthogonalize(direction, muon, Tensor::empty({1}, DType::kFloat64), Stream());
    const double lr = muon.lr() * scaling_[i].lr * update_scale(muon, parameters_[i].spec);
    const double decay = muon.lr() * muon.weight_decay() * scaling_[i].decay;
    for (std::size_t j = 0; j < gradient.size(); ++j) {
      values_[i][j] -= decay * values_[i][j] + lr * direction.data<float>()[j];
    }
  }

  OptimizerConfig config_;
  std::span<const Parameter> parameters_;
  std::vector<ParameterScaling> scaling_;
  std::vector<std::vector<double>> values_;
  std::vector<testing::ReferenceAdamW> adamw_;
  std::vector<testing::ReferenceSgd> sgd_;
  std::vector<std::vector<double>> muon_;  // momentum
};

struct Case {
  std::string name;
  OptimizerConfig config;
  DType dtype;
  std::int64_t bucket_bytes;
  double grad_clip;
  int zero_stage;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  std::vector<Case> all;
  const std::map<std::string, OptimizerConfig> configs = {{"AdamW", adamw_config()},
                                                          {"Nesterov", sgd_config(true)},
                                                          {"Momentum", sgd_config(false)},
                                                          {"Muon", muon_config()}};
  for (const auto& [name, config] : configs) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (const std::int64_t bucket_bytes : {1, 1000, 1 << 20}) {
        for (const double grad_clip : {0.0, 5.0}) {
          for (const int stage : {0, 1, 2, 3}) {
            if (stage != 1 && grad_clip == 0) continue;
            all.push_back({fmt::format("{}, {}, {} bytes, clip {}, stage {}", name, name_of(dtype), bucket_bytes,
                                       grad_clip, stage),
                           config, dtype, bucket_bytes, grad_clip, stage});
          }
        }
      }
    }
  }
  return all;
}

class Sharded : public ::testing::TestWithParam<Case> {
 protected:
  const ProcessGroup world = ProcessGroup::world();
  const Case& c = GetParam();
};
INSTANTIATE_TEST_SUITE_P(Cases, Sharded, ::testing::ValuesIn(cases()));

TEST_P(Sharded, TrajectoryIsThatOfOneLoop) {
  Replica replica(c.config, c.dtype, world, c.bucket_bytes, c.zero_stage);
  Reference reference(c.config, replica.parameters_with_values());
  for (int step = 0; step < kSteps; ++step) {
    replica.set_gradients(step);
    const StepReport report = replica.step(kLr, c.grad_clip);
    const double norm = reference.step(step, world.size(), c.grad_clip);
    EXPECT_FALSE(report.skipped);
    EXPECT_NEAR(report.gradient_norm, norm, 1e-6 * norm);
  }
  EXPECT_EQ(replica.optimizer.num_updates(), kSteps);

  const auto parameters = replica.parameters_with_values();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const double tolerance = parameters[i].value.dtype() == DType::kFloat32 ? 1e-6 : 1.0 / 256;
    EXPECT_TRUE(testing::close(parameters[i].value, reference.value(i), tolerance)) << parameters[i].spec.name;
  }
  for (const OptimizerSegment& segment : replica.optimizer.segments()) {
    const auto [name, master] = segment.state.front();
    EXPECT_EQ(name, "weight");
    const std::span<const double> whole = reference.value(segment.parameter);
    EXPECT_TRUE(testing::close(master, whole.subspan(segment.begin, segment.numel), 1e-6));
    const Tensor& value = parameters[segment.parameter].value;
    EXPECT_TRUE(testing::same_bits(value.flat_view(segment.begin, {segment.numel}), master.to(value.dtype())));
  }
}

TEST_P(Sharded, RanksHoldTheSameValues) {
  Replica replica(c.config, c.dtype, world, c.bucket_bytes, c.zero_stage);
  replica.set_gradients(0);
  replica.step(kLr, c.grad_clip);
  for (const Parameter& parameter : replica.parameters_with_values()) {
    const Tensor& value = parameter.value;
    const std::string mine(reinterpret_cast<const char*>(value.raw()), static_cast<std::size_t>(value.num_bytes()));
    EXPECT_THAT(world.all_gather(mine), Each(Eq(mine)));
  }
}

TEST_P(Sharded, ResumesWithTheSameBits) {
  Replica whole(c.config, c.dtype, world, c.bucket_bytes, c.zero_stage);
  for (int step = 0; step < 3; ++step) whole.set_gradients(step), whole.step(kLr, c.grad_clip);

  Replica resumed(c.config, c.dtype, world, c.bucket_bytes, c.zero_stage);
  for (const Parameter& parameter : resumed.parameters_with_values()) parameter.value.fill_zero();
  auto& saved = whole.optimizer.segments();
  auto& loaded = resumed.optimizer.segments();
  ASSERT_EQ(loaded.size(), saved.size());
  for (std::size_t i = 0; i < saved.size(); ++i) {
    for (std::size_t j = 0; j < saved[i].state.size(); ++j) {
      EXPECT_EQ(loaded[i].state[j].first, saved[i].state[j].first);
      loaded[i].state[j].second.copy_from(saved[i].state[j].second);
    }
  }
  resumed.optimizer.state_loaded(whole.optimizer.num_updates(), Stream());
  EXPECT_EQ(resumed.bytes(), whole.bytes());
  for (Replica* replica : {&whole, &resumed}) {
    replica->set_gradients(3);
    replica->step(kLr, c.grad_clip);
  }
  EXPECT_EQ(resumed.bytes(), whole.bytes());
  EXPECT_EQ(resumed.optimizer.num_updates(), 4);
}

class BadGradient : public ::testing::TestWithParam<float> {};
INSTANTIATE_TEST_SUITE_P(Values, BadGradient,
                         ::testing::Values(std::numeric_limits<float>::quiet_NaN(),
                                           std::numeric_limits<float>::infinity(),
                                           -std::numeric_limits<float>::infinity()));

TEST_P(BadGradient, OfOneRankSkipsTheUpdateOnAll) {
  const ProcessGroup world = ProcessGroup::world();
  for (const OptimizerConfig& config : {adamw_config(), sgd_config(true)}) {
    for (int bad = 0; bad < world.size(); ++bad) {
      Replica replica(config, DType::kBFloat16, world, 1000), spared(config, DType::kBFloat16, world, 1000);
      for (Replica* r : {&replica, &spared}) r->set_gradients(0), r->step(kLr, 1.0);
      const std::string before = replica.bytes();

      replica.set_gradients(1);
      if (world.rank() == bad) replica.store.find("matrix").gradient.data<float>()[700] = GetParam();
      const StepReport report = replica.step(kLr, 1.0);
      EXPECT_TRUE(report.skipped);
      EXPECT_FALSE(std::isfinite(report.gradient_norm));
      EXPECT_EQ(replica.bytes(), before);
      EXPECT_EQ(replica.optimizer.num_updates(), 1);

      for (Replica* r : {&replica, &spared}) r->set_gradients(2), r->step(kLr, 1.0);
      EXPECT_EQ(replica.bytes(), spared.bytes()) << "a skipped step leaves no trace";
    }
  }
}

// Each rank holds some rows of a matrix, and all hold the same vector.
TEST(SlicedGradientNorm, IsThatOfTheWholeModelOnEveryRank) {
  const ProcessGroup world = ProcessGroup::world();
  const int rank = world.rank(), size = world.size();
  const std::int64_t rows = 5;
  ParameterStore store({{.name = "matrix", .shape = {rows * size, 7}}, {.name = "gain", .shape = {13}}},
                       DType::kFloat32, {}, 1,
                       {{.slice = {0, rows * rank, rows * (rank + 1)}}, {.copies = size, .copy = rank}});
  for (const Parameter& parameter : store.parameters()) {
    for (float& x : parameter.gradient.span<float>()) x = 2;
  }
  ParameterShards shards(store, ProcessGroup::single(), 64);
  OptimizerConfig config = sgd_config(false);
  Optimizer optimizer(config, store, shards, {{}, {.clip = 0.5}}, world);
  const double expected = std::sqrt(4.0 * (7 * static_cast<double>(rows) * size + 0.5 * 13));
  EXPECT_NEAR(optimizer.step(0, 0, Stream()).gradient_norm, expected, 1e-12 * expected);
}

TEST(Segments, CoverEveryElementOnce) {
  const ProcessGroup world = ProcessGroup::world();
  for (const std::int64_t bucket_bytes : {1, 1000, 1 << 20}) {
    for (const int stage : {0, 1, 2, 3}) {
      Replica replica(adamw_config(), DType::kBFloat16, world, bucket_bytes, stage);
      std::vector<Tensor> owners, updaters;
      for (const Parameter& parameter : replica.store.parameters()) {
        owners.push_back(Tensor::zeros({parameter.spec.shape.numel()}, DType::kInt32));
        updaters.push_back(owners.back().clone());
      }
      for (const OptimizerSegment& segment : replica.optimizer.segments()) {
        EXPECT_GT(segment.numel, 0);
        for (std::int64_t i = segment.begin; i < segment.begin + segment.numel; ++i) {
          owners[segment.parameter].data<std::int32_t>()[i] += segment.is_own ? 1 : 0;
          ++updaters[segment.parameter].data<std::int32_t>()[i];
        }
      }
      for (std::size_t i = 0; i < owners.size(); ++i) {
        world.all_reduce(owners[i], ReduceOp::kSum, Stream());
        world.all_reduce(updaters[i], ReduceOp::kSum, Stream());
        EXPECT_THAT(owners[i].span<std::int32_t>(), Each(1));
        EXPECT_THAT(updaters[i].span<std::int32_t>(), Each(stage == 0 ? world.size() : 1));
      }
    }
  }
}

}  // namespace
}  // namespace mudelta
