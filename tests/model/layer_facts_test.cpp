// What layers say of themselves agrees: specs, the floating-point operations, and what is observed of them.

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "model/flops.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

TEST(LayerFacts, MatricesThatATokenMeetsAreThoseOfTheSpecs) {
  ModelConfig config = resolve(small_config());
  for (const bool tied : {true, false}) {
    config.set_tie_embeddings(tied);
    double weights = 0;
    for (const ParameterSpec& spec : parameter_specs(config)) {
      const bool is_head = spec.role == (tied ? Role::kEmbedding : Role::kReadout);
      if (spec.role == Role::kHidden || spec.role == Role::kGate || is_head) {
        weights += static_cast<double>(spec.shape.numel());
      }
    }
    EXPECT_EQ(flops_per_token(config).matrices, 2 * weights);
  }
}

TEST(LayerFacts, ARanksPartHasItsShareOfTheWork) {
  ModelConfig config = resolve(small_config());
  Mixer::Sizes mixer = Mixer::sizes(config);
  Mlp::Sizes mlp = Mlp::sizes(config);
  const FlopsPerToken whole = Mixer::flops(mixer) + 3 * Mlp::flops(mlp);
  mixer.heads /= 2, mixer.value_heads /= 2, mlp.hidden /= 3;
  EXPECT_EQ(2 * Mixer::flops(mixer).recurrence, whole.recurrence);
  EXPECT_EQ((2 * Mixer::flops(mixer) + 9 * Mlp::flops(mlp)).matrices, whole.matrices);
}

TEST(LayerFacts, PlacesOfParameters) {
  for (const auto& [parameter, layer, name] : {std::tuple{"model.layers.17.attn.A_log", 17, "attn.A_log"},
                                               std::tuple{"model.layers.0.mlp_norm.weight", 0, "mlp_norm.weight"},
                                               std::tuple{"model.norm.weight", -1, "model.norm.weight"}}) {
    EXPECT_EQ(place_of(parameter).layer, layer) << parameter;
    EXPECT_EQ(place_of(parameter).name, name) << parameter;
  }
}

// Every parameter is observed once, but for an untied head, whose place in tables is that of a tied one; every
// activation that is promised, or multiplied by a parameter, is shown by every block.
TEST(LayerFacts, WhatIsObservedIsThere) {
  SmallModel small(small_config());
  std::multiset<std::string_view> known;
  const Observed observed = LanguageModel::observed();
  for (const ObservedWeight& weight : observed.weights) known.insert(weight.parameter);
  for (const Parameter& parameter : small.store.parameters()) {
    EXPECT_EQ(known.count(place_of(parameter.spec.name).name), 1u) << parameter.spec.name;
  }

  std::set<std::pair<std::string, int>> shown;
  DecodeState state = small.model.make_state(1);
  small.model.logits(make_batch(std::vector<std::int64_t>{5}, small.config.vocab_size()).input, &state, Stream(),
                     [&](std::string_view name, int layer, const Tensor&) { shown.emplace(name, layer); });
  for (const ObservedWeight& weight : observed.weights) {
    if (weight.input.empty()) continue;
    for (const int layer : {0, 1}) EXPECT_TRUE(shown.contains({std::string(weight.input), layer})) << weight.input;
  }
  for (const std::string_view name : Mixer::observed().activations) {
    for (const int layer : {0, 1}) EXPECT_TRUE(shown.contains({std::string(name), layer})) << name;
  }
}

}  // namespace
}  // namespace mudelta::testing
