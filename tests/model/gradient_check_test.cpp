// Losses and every gradient of the whole model against an independent model in float64 and its finite differences.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/oracle/language_model.h"
#include "tests/support/compare.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

struct Case {
  std::string name;
  bool tied = true;
  bool allow_neg_eigval = false;
  double o_norm_eps = 4e-3;
  double norm_eps = 1e-6;
  ForwardMultipliers multipliers = {};
  ModelConfig::Recompute recompute = ModelConfig::NONE;
};

class GradientCheck : public ::testing::TestWithParam<Case> {};

TEST_P(GradientCheck, AgreesWithFloat64) {
  constexpr double kGradientScale = 0.3;
  ModelConfig config = small_config();
  config.set_tie_embeddings(GetParam().tied);
  config.set_allow_neg_eigval(GetParam().allow_neg_eigval);
  config.set_o_norm_eps(GetParam().o_norm_eps);
  config.set_norm_eps(GetParam().norm_eps);
  config.set_recompute(GetParam().recompute);
  SmallModel small(config, DType::kFloat32, GetParam().multipliers);
  const SmallBatch batch = make_batch(std::vector<std::int64_t>{8, 5}, config.vocab_size());

  const oracle::LanguageModel expected(small.config, batch.input, batch.targets, GetParam().multipliers);
  oracle::Weights weights = oracle::weights_of(small.store);

  const Tensor losses = small.model.losses_and_gradients(batch.input, batch.targets, kGradientScale, Stream{});
  EXPECT_TRUE(close(losses, expected.losses(weights), 1e-5));
  EXPECT_TRUE(same_bits(small.model.losses(batch.input, batch.targets, Stream{}), losses));

  for (const Parameter& parameter : small.store.parameters()) {
    std::vector<double> numeric;
    for (double& weight : weights.at(parameter.spec.name)) {
      const double here = weight, step = 1e-5;
      weight = here + step;
      const double above = expected.total_loss(weights);
      weight = here - step;
      const double below = expected.total_loss(weights);
      weight = here;
      numeric.push_back(kGradientScale * (above - below) / (2 * step));
    }
    EXPECT_TRUE(close(parameter.gradient, numeric, 1e-4)) << parameter.spec.name;
    const double largest = std::abs(*std::ranges::max_element(numeric, {}, [](double x) { return std::abs(x); }));
    EXPECT_GT(largest, 1e-3) << parameter.spec.name << ": this case's gradient proves little";
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GradientCheck,
                         ::testing::Values(Case{.name = "Tied"},
                                           Case{.name = "TiedNegativeEigenvalues",
                                                .allow_neg_eigval = true,
                                                .o_norm_eps = 1e-5,
                                                .multipliers = {.logits = 2.5}},
                                           Case{.name = "UntiedNegativeEigenvalues",
                                                .tied = false,
                                                .allow_neg_eigval = true,
                                                .o_norm_eps = 0.1,
                                                .multipliers = {.logits = 0.25}},
                                           // An eps that counts: it is in other units inside.
                                           Case{.name = "ResidualMultiplier",
                                                .norm_eps = 0.2,
                                                .multipliers = {.logits = 0.5, .residual = 0.3}},
                                           Case{.name = "ResidualMultiplierRecomputed",
                                                .tied = false,
                                                .norm_eps = 0.2,
                                                .multipliers = {.residual = 0.6},
                                                .recompute = ModelConfig::FULL}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace mudelta::testing
