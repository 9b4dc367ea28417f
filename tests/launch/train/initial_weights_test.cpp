#include "launch/train/initial_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Weights that are nowhere: element i of any parameter is i + 1, but for one.
class Numbers : public WeightSource {
 public:
  explicit Numbers(const std::string& changes = "", ForwardMultipliers multipliers = {}) : multipliers_(multipliers) {
    *config_.mutable_model() = small_config();
    config_.mutable_data()->set_tokenizer("byte");
    parse_text(changes, "changes", changes_);
    config_.MergeFrom(changes_);
    *config_.mutable_model() = resolve(config_.model());
    config_ = with_defaults(config_);
  }

  const std::filesystem::path& folder() const override { return folder_; }
  const RunConfig& config() const override { return config_; }
  ForwardMultipliers forward_multipliers() const override { return multipliers_; }
  TrainingState state() const override { return {}; }
  void read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
            std::span<float> out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<float>(slice.begin + begin + static_cast<std::int64_t>(i) + 1);
      if (parameter == broken && i == 2) out[i] = std::numeric_limits<float>::infinity();
    }
  }

  std::string broken;

 private:
  std::filesystem::path folder_ = "somewhere";
  RunConfig config_, changes_;
  ForwardMultipliers multipliers_;
};

RunConfig parse(const std::string& text) {
  RunConfig config;
  parse_text(text, "config", config);
  return config;
}

TEST(InitialWeights, GiveWhatTheConfigurationLeavesOut) {
  const RunConfig config = with_model_of(parse("train { steps: 7 }"), Numbers());
  EXPECT_EQ(config.train().steps(), 7);
  EXPECT_EQ(config.data().tokenizer(), "byte");
  const ModelConfig& model = config.model();
  EXPECT_EQ(model.width(), 12);
  EXPECT_EQ(model.value_heads(), 4);
  EXPECT_EQ(model.mlp_size(), 15);
  EXPECT_EQ(model.vocab_size(), 11);
  EXPECT_EQ(o_norm_eps(model), 4e-3);
}

TEST(InitialWeights, OnlyHowTheModelIsTrainedMayDiffer) {
  const Numbers weights("model { recompute: FULL init_std: 0.3 }");
  EXPECT_FALSE(with_model_of({}, weights).model().has_recompute());
  const RunConfig config = with_model_of(parse("model { recompute: SELECTIVE conv_init_std: 0.5 width: 12 }"), weights);
  EXPECT_EQ(config.model().recompute(), ModelConfig::SELECTIVE);
  EXPECT_EQ(config.model().conv_init_std(), 0.5);

  const auto error_with = [&](const std::string& text) {
    return error_of([&] { with_model_of(parse(text), weights); });
  };
  EXPECT_THAT(error_with("model { width: 16 tie_embeddings: false }"),
              AllOf(HasSubstr("somewhere"), HasSubstr("model.width: 12 -> 16"),
                    HasSubstr("model.tie_embeddings: true -> false")));
  EXPECT_THAT(error_with("model { o_norm_eps: 1e-6 }"), HasSubstr("model.o_norm_eps: 0.004 -> 1e-06"));
  EXPECT_THAT(error_with("model { vocab_size: 12 }"), HasSubstr("model.vocab_size: 11 -> 12"));
  EXPECT_THAT(error_with("data { tokenizer: 'other' }"),
              HasSubstr("data.tokenizer is other: the weights in somewhere learnt byte"));
}

// Fields that say one thing in two ways.
TEST(InitialWeights, AreOfTheSameModelHoweverItIsSaid) {
  EXPECT_EQ(with_model_of(parse("model { mlp_ratio: 1.25 }"), Numbers()).model().mlp_size(), 15);
  EXPECT_THAT(error_of([] { with_model_of(parse("model { mlp_ratio: 2 }"), Numbers()); }),
              HasSubstr("model.mlp_size: 15 -> 24"));
  const Numbers early("model { query_scale: RMS norm_eps: 1e-5 }");
  EXPECT_EQ(o_norm_eps(with_model_of({}, early).model()), 1e-5);
  EXPECT_EQ(o_norm_eps(with_model_of(parse("model { o_norm_eps: 1e-5 }"), early).model()), 1e-5);
  EXPECT_EQ(o_norm_eps(with_model_of(parse("model { query_scale: RMS }"), early).model()), 1e-5);
  EXPECT_THAT(error_of([&] { with_model_of(parse("model { query_scale: INV_SQRT }"), early); }),
              HasSubstr("model.o_norm_eps: 1e-05 -> 0.00025"));
}

// From multipliers 1/4 and 1/2 to 2 and 1/4.
float factor_of(const std::string& parameter) {
  if (parameter == "model.norm.weight") return 0.125F;
  return parameter.ends_with("attn.o_proj.weight") || parameter.ends_with("mlp.down_proj.weight") ? 2 : 1;
}

TEST(InitialWeights, GoIntoMastersAndValuesAndKeepTheLogits) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    SmallModel small(small_config(), dtype);
    const ProcessGroup alone = ProcessGroup::single();
    ParameterShards shards(small.store, alone, 1 << 10);
    const std::vector<ParameterScaling> scaling(small.store.parameters().size());
    Optimizer optimizer({}, small.store, shards, scaling, alone);
    load_initial_weights(Numbers("", {.logits = 0.25, .residual = 0.5}), {.logits = 2, .residual = 0.25}, small.store,
                         optimizer, alone, Stream());
    for (const Parameter& parameter : small.store.parameters()) {
      const float factor = factor_of(parameter.spec.name);
      const Tensor expected = Tensor::empty(parameter.value.shape());
      for (std::int64_t i = 0; i < expected.numel(); ++i)
        expected.data<float>()[i] = factor * static_cast<float>(i + 1);
      EXPECT_TRUE(same_bits(parameter.value, expected.to(parameter.value.dtype()))) << parameter.spec.name;
    }
    for (const OptimizerSegment& segment : optimizer.segments()) {
      if (factor_of(small.store.parameters()[segment.parameter].spec.name) != 1) continue;
      EXPECT_EQ(segment.state[0].second.span<float>().back(), static_cast<float>(segment.begin + segment.numel));
    }

    Numbers broken;
    broken.broken = "model.norm.weight";
    EXPECT_THAT(
        error_of([&] { load_initial_weights(broken, {}, small.store, optimizer, alone, Stream()); }),
        AllOf(HasSubstr("somewhere: element 2 of model.norm.weight is inf"), HasSubstr("expected finite weights")));
  }
}

}  // namespace
}  // namespace mudelta::testing
