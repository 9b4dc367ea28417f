// What a configuration becomes: defaults, refusals, the list of parameters, the count of operations.

#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "model/flops.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The paper's model at its base width.
ModelConfig paper_config() {
  ModelConfig config;
  config.set_vocab_size(50257);
  return config;
}

std::string refusal(const std::function<void(ModelConfig&)>& change) {
  ModelConfig config = paper_config();
  change(config);
  try {
    resolve(config);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST(Resolve, FillsInWhatDependsOnOtherFields) {
  const ModelConfig config = resolve(paper_config());
  EXPECT_EQ(config.width(), 256);
  EXPECT_EQ(config.layers(), 8);
  EXPECT_EQ(config.heads(), 6);
  EXPECT_EQ(config.value_heads(), 6);
  EXPECT_EQ(config.head_dim(), 32);
  EXPECT_EQ(value_dim(config), 64);
  EXPECT_EQ(config.conv_size(), 4);
  EXPECT_EQ(config.mlp_size(), 1024);
  EXPECT_TRUE(config.tie_embeddings());
  for (const bool set : {config.has_value_heads(), config.has_head_dim(), config.has_mlp_size()}) EXPECT_TRUE(set);
}

TEST(Resolve, SizesWhoseProductsCouldNotBeCountedAreRefused) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 55;
  EXPECT_EQ(refusal([](ModelConfig& c) { c.set_mlp_size(kHuge); }),
            "model.mlp_size is 36028797018963968, expected at most 2147483647");
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_vocab_size(kHuge); }), HasSubstr("model.vocab_size is"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_width(kHuge); }), HasSubstr("model.width is"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_layers(kHuge); }), HasSubstr("model.layers is"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_heads(INT64_MAX); }), HasSubstr("model.heads is"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_mlp_ratio(1e30); }), HasSubstr("model.mlp_ratio is 1e+30"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_head_dim(1 << 29); }),
              AllOf(HasSubstr("model.heads is 6"), HasSubstr("536870912 channels a head")));
}

TEST(Resolve, KeepsWhatIsGivenAndIsIdempotent) {
  ModelConfig given = paper_config();
  given.set_width(100);  // 3/4 of it is not divisible by the heads, but head_dim is given
  given.set_value_heads(12);
  given.set_head_dim(10);
  given.set_expand_v(1.5);
  given.set_mlp_size(77);
  const ModelConfig config = resolve(given);
  EXPECT_EQ(config.value_heads(), 12);
  EXPECT_EQ(config.head_dim(), 10);
  EXPECT_EQ(value_dim(config), 15);
  EXPECT_EQ(config.mlp_size(), 77);
  EXPECT_EQ(resolve(config).SerializeAsString(), config.SerializeAsString());
}

TEST(Resolve, FollowsTheRatios) {
  ModelConfig given = paper_config();
  given.set_width(512);
  given.set_mlp_ratio(2.5);
  given.set_expand_v(0.25);
  const ModelConfig config = resolve(given);
  EXPECT_EQ(config.head_dim(), 64);
  EXPECT_EQ(value_dim(config), 16);
  EXPECT_EQ(config.mlp_size(), 1280);
}

TEST(Resolve, SaysWhatTheNormOfTheReadoutAdds) {
  const ModelConfig left_out = resolve(paper_config());
  EXPECT_TRUE(left_out.has_o_norm_eps());
  EXPECT_EQ(o_norm_eps(left_out), 4e-3);

  ModelConfig given = paper_config();
  given.set_o_norm_eps(0.25);
  EXPECT_EQ(o_norm_eps(resolve(given)), 0.25);
  given.set_query_scale(ModelConfig::INV_SQRT);  // of a complete configuration of an earlier version
  EXPECT_EQ(o_norm_eps(resolve(given)), 0.25);
  EXPECT_FALSE(resolve(given).has_query_scale());
}

TEST(Resolve, KeepsTheMeaningOfTheRetiredQueryScale) {
  ModelConfig older = paper_config();
  older.set_norm_eps(1e-5);
  older.set_query_scale(ModelConfig::RMS);
  EXPECT_EQ(o_norm_eps(resolve(older)), 1e-5);
  older.set_query_scale(ModelConfig::INV_SQRT);
  EXPECT_DOUBLE_EQ(o_norm_eps(resolve(older)), 1e-5 * 32 * 32);
  older.set_head_dim(64);  // as in a wider run of an earlier version's sweep
  EXPECT_DOUBLE_EQ(o_norm_eps(resolve(older)), 1e-5 * 64 * 64);
}

TEST(Resolve, RefusesSizesBelowOne) {
  const std::vector<std::pair<std::string, void (ModelConfig::*)(std::int64_t)>> fields{
      {"width", &ModelConfig::set_width},           {"layers", &ModelConfig::set_layers},
      {"heads", &ModelConfig::set_heads},           {"value_heads", &ModelConfig::set_value_heads},
      {"head_dim", &ModelConfig::set_head_dim},     {"conv_size", &ModelConfig::set_conv_size},
      {"vocab_size", &ModelConfig::set_vocab_size}, {"mlp_size", &ModelConfig::set_mlp_size}};
  for (const auto& [name, setter] : fields) {
    for (const std::int64_t value : {0, -6}) {
      const std::string message = refusal([&, set = setter](ModelConfig& config) { (config.*set)(value); });
      EXPECT_EQ(message, fmt::format("model.{} is {}, expected at least 1", name, value));
    }
  }
}

TEST(Resolve, RefusesNumbersThatMustBePositive) {
  const std::vector<std::pair<std::string, void (ModelConfig::*)(double)>> fields{
      {"norm_eps", &ModelConfig::set_norm_eps},
      {"o_norm_eps", &ModelConfig::set_o_norm_eps},
      {"init_std", &ModelConfig::set_init_std},
      {"conv_init_std", &ModelConfig::set_conv_init_std}};
  for (const auto& [name, setter] : fields) {
    for (const double value : {0.0, -1.0, std::nan("")}) {
      const std::string message = refusal([&, set = setter](ModelConfig& config) { (config.*set)(value); });
      EXPECT_EQ(message, fmt::format("model.{} is {}, expected a number above 0", name, value));
    }
  }
}

TEST(Resolve, RefusesSizesThatDoNotDivide) {
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_width(250); }),
              AllOf(HasSubstr("model.width is 250"), HasSubstr("6 heads"), HasSubstr("a multiple of 8")));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_heads(5); }),
              AllOf(HasSubstr("model.width is 256"), HasSubstr("5 heads"), HasSubstr("a multiple of 20")));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_value_heads(8); }),
              HasSubstr("model.value_heads is 8, expected a multiple of model.heads (6)"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_expand_v(1.3); }),
              AllOf(HasSubstr("model.expand_v is 1.3"), HasSubstr("model.head_dim (32)"), HasSubstr("41.6")));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.set_mlp_ratio(2.001); }),
              AllOf(HasSubstr("model.mlp_ratio is 2.001"), HasSubstr("model.width (256)"), HasSubstr("512.256")));
  for (const double ratio : {0.0, -4.0, std::nan(""), HUGE_VAL}) {
    EXPECT_THAT(refusal([&](ModelConfig& c) { c.set_expand_v(ratio); }), HasSubstr("model.expand_v is"));
    EXPECT_THAT(refusal([&](ModelConfig& c) { c.set_mlp_ratio(ratio); }), HasSubstr("model.mlp_ratio is"));
  }
}

TEST(Resolve, RefusesAMissingVocabulary) {
  EXPECT_THAT(refusal([](ModelConfig& c) { c.clear_vocab_size(); }), HasSubstr("model.vocab_size is not given"));
}

TEST(ParameterSpecs, NamesAndOrderOfOneLayer) {
  ModelConfig config = paper_config();
  config.set_layers(1);
  config.set_tie_embeddings(false);
  std::vector<std::string> names;
  for (const ParameterSpec& spec : parameter_specs(resolve(config))) names.push_back(spec.name);
  EXPECT_THAT(names, ElementsAre("model.embeddings.weight", "model.layers.0.attn_norm.weight",
                                 "model.layers.0.attn.q_proj.weight", "model.layers.0.attn.k_proj.weight",
                                 "model.layers.0.attn.v_proj.weight", "model.layers.0.attn.a_proj.weight",
                                 "model.layers.0.attn.b_proj.weight", "model.layers.0.attn.A_log",
                                 "model.layers.0.attn.dt_bias", "model.layers.0.attn.q_conv1d.weight",
                                 "model.layers.0.attn.k_conv1d.weight", "model.layers.0.attn.v_conv1d.weight",
                                 "model.layers.0.attn.g_proj.weight", "model.layers.0.attn.o_norm.weight",
                                 "model.layers.0.attn.o_proj.weight", "model.layers.0.mlp_norm.weight",
                                 "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight",
                                 "model.layers.0.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight"));
}

TEST(ParameterSpecs, CountsOfThePaperModel) {
  // Per layer: two norms of 256, q and k [192, 256], v, g [384, 256] and o [256, 384], a and b [6, 256], two numbers
  // a head, taps [192 + 192 + 384, 4], a norm of 64, three matrices [1024, 256].
  constexpr std::int64_t kLayer =
      2 * 256 + 2 * 192 * 256 + 3 * 384 * 256 + 2 * 6 * 256 + 2 * 6 + 768 * 4 + 64 + 3 * 1024 * 256;
  static_assert(kLayer == 1186380);
  const auto count = [](const ModelConfig& config) {
    std::int64_t total = 0;
    for (const ParameterSpec& spec : parameter_specs(resolve(config))) total += spec.shape.numel();
    return total;
  };
  ModelConfig config = paper_config();
  EXPECT_EQ(count(config), 50257 * 256 + 8 * kLayer + 256);
  EXPECT_EQ(count(config), 22357088);
  config.set_tie_embeddings(false);
  EXPECT_EQ(count(config), 22357088 + 50257 * 256);
}

TEST(ParameterSpecs, RolesFansAndStorage) {
  ModelConfig config = paper_config();
  config.set_layers(1);
  config.set_value_heads(12);
  config.set_tie_embeddings(false);
  const auto specs = parameter_specs(resolve(config));
  const auto expect = [&](const std::string& name, Role role, const Shape& shape, std::int64_t fan_in,
                          std::int64_t fan_out, int shard_dim, bool keep_float32) {
    const auto spec = std::ranges::find(specs, name, &ParameterSpec::name);
    ASSERT_NE(spec, specs.end()) << name;
    EXPECT_EQ(name_of(spec->role), name_of(role)) << name;
    EXPECT_EQ(spec->shape, shape) << name << " " << spec->shape.to_string();
    EXPECT_EQ(spec->fan_in, fan_in) << name;
    EXPECT_EQ(spec->fan_out, fan_out) << name;
    EXPECT_EQ(spec->shard_dim, shard_dim) << name;
    EXPECT_EQ(spec->keep_float32, keep_float32) << name;
  };
  const std::string layer = layer_prefix(0), attn = layer + "attn.";
  expect("model.embeddings.weight", Role::kEmbedding, {50257, 256}, 256, 50257, 0, false);
  expect("lm_head.weight", Role::kReadout, {50257, 256}, 256, 50257, 0, false);
  expect("model.norm.weight", Role::kNorm, {256}, 1, 256, -1, true);
  expect(layer + "attn_norm.weight", Role::kNorm, {256}, 1, 256, -1, true);
  expect(attn + "q_proj.weight", Role::kHidden, {192, 256}, 256, 192, 0, false);
  expect(attn + "v_proj.weight", Role::kHidden, {768, 256}, 256, 768, 0, false);
  expect(attn + "g_proj.weight", Role::kHidden, {768, 256}, 256, 768, 0, false);
  expect(attn + "o_proj.weight", Role::kHidden, {256, 768}, 768, 256, 1, false);
  expect(attn + "a_proj.weight", Role::kGate, {12, 256}, 256, 12, 0, false);
  expect(attn + "b_proj.weight", Role::kGate, {12, 256}, 256, 12, 0, false);
  expect(attn + "A_log", Role::kGateScalar, {12}, 1, 12, 0, true);
  expect(attn + "dt_bias", Role::kGateScalar, {12}, 1, 12, 0, true);
  expect(attn + "k_conv1d.weight", Role::kConv, {192, 1, 4}, 4, 192, 0, true);
  expect(attn + "v_conv1d.weight", Role::kConv, {768, 1, 4}, 4, 768, 0, true);
  expect(attn + "o_norm.weight", Role::kNorm, {64}, 1, 64, -1, true);
  expect(layer + "mlp.up_proj.weight", Role::kHidden, {1024, 256}, 256, 1024, 0, false);
  expect(layer + "mlp.down_proj.weight", Role::kHidden, {256, 1024}, 1024, 256, 1, false);
}

TEST(ParameterSpecs, InitialValuesStayInTheirRanges) {
  ModelConfig config = paper_config();
  config.set_layers(1);
  for (const ParameterSpec& spec : parameter_specs(resolve(config))) {
    if (spec.role != Role::kGateScalar && spec.role != Role::kNorm) continue;
    for (std::int64_t i = 0; i < spec.shape.numel(); ++i) {
      const double value = initial_value(spec, 1, 1, i);
      if (spec.role == Role::kNorm) {
        EXPECT_EQ(value, 1) << spec.name;
      } else if (spec.name.ends_with("A_log")) {
        EXPECT_LE(std::exp(value), 16);
      } else {
        const double softplus = std::log1p(std::exp(value));
        EXPECT_TRUE(0.999e-3 <= softplus && softplus <= 0.1001) << softplus;
      }
    }
  }
}

TEST(Flops, PaperModelByHand) {
  ModelConfig config = paper_config();
  config.set_vocab_size(257);
  // Weights that a token meets: per layer q, k, v, g, o, a, b and the MLP; then the readout.
  constexpr double kWeights = 8 * (2 * 192 * 256 + 3 * 384 * 256 + 2 * 6 * 256 + 3 * 1024 * 256) + 257 * 256;
  constexpr double kRecurrence = 8 * 6 * 7 * 32 * 64;
  const FlopsPerToken flops = flops_per_token(resolve(config));
  EXPECT_EQ(flops.matrices, 2 * kWeights);
  EXPECT_EQ(flops.recurrence, kRecurrence);
  EXPECT_EQ(flops.training(), 6 * kWeights + 3 * kRecurrence);
}

TEST(Flops, GroupedValuesCountByValueHead) {
  ModelConfig config = paper_config();
  const double one = flops_per_token(resolve(config)).recurrence;
  config.set_value_heads(18);
  EXPECT_EQ(flops_per_token(resolve(config)).recurrence, 3 * one);
}

}  // namespace
}  // namespace mudelta
