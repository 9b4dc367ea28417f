// The table of docs/mup.md, by hand, for a small list of parameters that has every role.

#include "optim/parametrization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/error.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct ModelSize {
  std::int64_t width, heads, head_dim, mlp;
};
constexpr ModelSize kBase{.width = 256, .heads = 8, .head_dim = 32, .mlp = 1024};
// Four times wider along head_dim (the paper), along the number of heads, and along both.
constexpr ModelSize kWiderHeads{.width = 1024, .heads = 8, .head_dim = 128, .mlp = 4096};
constexpr ModelSize kMoreHeads{.width = 1024, .heads = 32, .head_dim = 32, .mlp = 4096};
constexpr ModelSize kBoth{.width = 1024, .heads = 16, .head_dim = 64, .mlp = 4096};

const std::set<std::string> kOutsideOfBlocks = {"embeddings", "norm", "lm_head"};

ParameterSpec matrix(std::string name, Role role, std::int64_t fan_out, std::int64_t fan_in) {
  return {.name = std::move(name), .role = role, .shape = {fan_out, fan_in}, .fan_in = fan_in, .fan_out = fan_out};
}

std::vector<ParameterSpec> specs(const ModelSize& size) {
  const std::int64_t keys = size.heads * size.head_dim, values = 2 * keys;
  std::vector<ParameterSpec> all = {matrix("embeddings", Role::kEmbedding, 500, size.width),
                                    matrix("q_proj", Role::kHidden, keys, size.width),
                                    matrix("o_proj", Role::kHidden, size.width, values),
                                    matrix("down_proj", Role::kHidden, size.width, size.mlp),
                                    matrix("a_proj", Role::kGate, size.heads, size.width),
                                    {.name = "A_log", .role = Role::kGateScalar, .shape = {size.heads}},
                                    {.name = "q_conv", .role = Role::kConv, .shape = {keys, 4}},
                                    {.name = "norm", .role = Role::kNorm, .shape = {size.width}},
                                    {.name = "o_norm", .role = Role::kNorm, .shape = {2 * size.head_dim}},
                                    matrix("lm_head", Role::kReadout, 500, size.width)};
  for (ParameterSpec& spec : all) spec.in_block = !kOutsideOfBlocks.contains(spec.name);
  return all;
}

GrowthRatios growth(const ModelSize& target) {
  return {.width = static_cast<double>(target.width) / static_cast<double>(kBase.width),
          .head_dim = static_cast<double>(target.head_dim) / static_cast<double>(kBase.head_dim)};
}

OptimizerConfig adamw() {
  OptimizerConfig config;
  config.mutable_adamw();
  return config;
}

OptimizerConfig sgd() {
  OptimizerConfig config;
  config.mutable_sgd();
  return config;
}

ParametrizationConfig kind(ParametrizationConfig::Kind kind) {
  ParametrizationConfig config;
  config.set_kind(kind);
  return config;
}

Parametrization parametrize(const ParametrizationConfig& config, const OptimizerConfig& optimizer,
                            const ModelSize& target) {
  return {config, optimizer, specs(kBase), specs(target), growth(target)};
}

// One field of every parameter's scaling, by name.
std::map<std::string, double> table(double ParameterScaling::*field, const Parametrization& parametrization) {
  std::map<std::string, double> result;
  const auto names = specs(kBase);
  for (std::size_t i = 0; i < names.size(); ++i) result[names[i].name] = parametrization.scaling()[i].*field;
  return result;
}

std::map<std::string, double> everywhere(double value) {
  std::map<std::string, double> result;
  for (const ParameterSpec& spec : specs(kBase)) result[spec.name] = value;
  return result;
}

using Table = std::map<std::string, double>;

constexpr auto kInit = &ParameterScaling::init;
constexpr auto kLr = &ParameterScaling::lr;
constexpr auto kEps = &ParameterScaling::eps;
constexpr auto kDecay = &ParameterScaling::decay;
constexpr auto kClip = &ParameterScaling::clip;

const Table kMatrixInit = {{"embeddings", 1}, {"q_proj", 0.5}, {"o_proj", 0.5}, {"down_proj", 0.5}, {"a_proj", 0.5},
                           {"A_log", 1},      {"q_conv", 1},   {"norm", 1},     {"o_norm", 1},      {"lm_head", 1}};
const Table kAdamWLr = {{"embeddings", 1}, {"q_proj", 0.25}, {"o_proj", 0.25}, {"down_proj", 0.25}, {"a_proj", 0.25},
                        {"A_log", 1},      {"q_conv", 1},    {"norm", 1},      {"o_norm", 1},       {"lm_head", 1}};

class EveryAxis : public ::testing::TestWithParam<ModelSize> {};
INSTANTIATE_TEST_SUITE_P(FourTimesWider, EveryAxis, ::testing::Values(kWiderHeads, kMoreHeads, kBoth));

TEST_P(EveryAxis, InitAndAdamWRulesAreThoseOfTheFans) {
  for (const auto k : {ParametrizationConfig::MUP, ParametrizationConfig::GDN_MUP}) {
    const Parametrization p = parametrize(kind(k), adamw(), GetParam());
    EXPECT_EQ(table(kInit, p), kMatrixInit);
    EXPECT_EQ(table(kLr, p), kAdamWLr);
    EXPECT_EQ(p.forward_multipliers().logits, 0.25);
    EXPECT_EQ(table(kInit, parametrize(kind(k), sgd(), GetParam())), kMatrixInit) << "whatever the optimizer";
  }
}

TEST_P(EveryAxis, StandardFollowsNothing) {
  for (const OptimizerConfig& optimizer : {adamw(), sgd()}) {
    const Parametrization p = parametrize(kind(ParametrizationConfig::SP), optimizer, GetParam());
    EXPECT_EQ(table(kInit, p), everywhere(1));
    EXPECT_EQ(table(kLr, p), everywhere(1));
    EXPECT_EQ(p.forward_multipliers().logits, 1);
  }
}

TEST(SgdRates, PapersAxis) {  // m = n = 4
  const Parametrization p = parametrize(kind(ParametrizationConfig::GDN_MUP), sgd(), kWiderHeads);
  EXPECT_EQ(table(kLr, p), (Table{{"embeddings", 4},
                                  {"q_proj", 1},
                                  {"o_proj", 1},
                                  {"down_proj", 1},
                                  {"a_proj", 0.5},
                                  {"A_log", 2},
                                  {"q_conv", 4},
                                  {"norm", 4},
                                  {"o_norm", 4},
                                  {"lm_head", 4}}));
}

TEST(SgdRates, HeadsAxis) {  // m = 4, n = 1
  const Parametrization p = parametrize(kind(ParametrizationConfig::GDN_MUP), sgd(), kMoreHeads);
  EXPECT_EQ(table(kLr, p), (Table{{"embeddings", 4},
                                  {"q_proj", 1},
                                  {"o_proj", 1},
                                  {"down_proj", 1},
                                  {"a_proj", 1},
                                  {"A_log", 4},
                                  {"q_conv", 4},
                                  {"norm", 4},
                                  {"o_norm", 1},
                                  {"lm_head", 4}}));
}

TEST(SgdRates, BothAxes) {  // m = 4, n = 2
  const double root = std::sqrt(2.0);
  const Parametrization p = parametrize(kind(ParametrizationConfig::GDN_MUP), sgd(), kBoth);
  EXPECT_EQ(table(kLr, p), (Table{{"embeddings", 4},
                                  {"q_proj", 1},
                                  {"o_proj", 1},
                                  {"down_proj", 1},
                                  {"a_proj", root / 2},
                                  {"A_log", 2 * root},
                                  {"q_conv", 4},
                                  {"norm", 4},
                                  {"o_norm", 2},
                                  {"lm_head", 4}}));
}

TEST(SgdRates, TransformersRulesTreatGatesAsAnyOther) {
  const Parametrization p = parametrize(kind(ParametrizationConfig::MUP), sgd(), kWiderHeads);
  EXPECT_EQ(table(kLr, p), (Table{{"embeddings", 4},
                                  {"q_proj", 1},
                                  {"o_proj", 1},
                                  {"down_proj", 1},
                                  {"a_proj", 1},
                                  {"A_log", 4},
                                  {"q_conv", 4},
                                  {"norm", 4},
                                  {"o_norm", 4},
                                  {"lm_head", 4}}));
}

TEST(MuonRates, MakeEveryUpdateScaleTheUnitOne) {
  const ModelSize odd{.width = 512, .heads = 8, .head_dim = 64, .mlp = 9216};
  for (const ModelSize& target : {kWiderHeads, kMoreHeads, odd}) {
    for (const auto scale :
         {MuonConfig::SQRT_OUT_OVER_IN, MuonConfig::SQRT_MAX_1_OUT_OVER_IN, MuonConfig::POINT_2_SQRT_MAX}) {
      OptimizerConfig muon;
      muon.mutable_muon()->set_update_scale(scale);
      const Parametrization found = parametrize(kind(ParametrizationConfig::GDN_MUP), muon, target);
      const Parametrization beside = parametrize(kind(ParametrizationConfig::GDN_MUP), adamw(), target);
      const std::vector<ParameterSpec> wide = specs(target), base = specs(kBase);
      for (std::size_t i = 0; i < wide.size(); ++i) {
        const double lr = found.scaling()[i].lr;
        EXPECT_EQ(found.scaling()[i].init, beside.scaling()[i].init);
        if (wide[i].role != Role::kHidden) {
          EXPECT_EQ(lr, beside.scaling()[i].lr) << wide[i].name;
          continue;
        }
        const double moved = lr * update_scale(muon.muon(), wide[i]) / update_scale(muon.muon(), base[i]);
        const double out = static_cast<double>(wide[i].fan_out) / static_cast<double>(base[i].fan_out);
        const double in = static_cast<double>(wide[i].fan_in) / static_cast<double>(base[i].fan_in);
        EXPECT_DOUBLE_EQ(moved, std::sqrt(out / in)) << wide[i].name;
        EXPECT_EQ(parametrize(kind(ParametrizationConfig::SP), muon, target).scaling()[i].lr, 1);
      }
    }
  }
  OptimizerConfig moonlight;
  moonlight.mutable_muon()->set_update_scale(MuonConfig::POINT_2_SQRT_MAX);
  const Parametrization found = parametrize(kind(ParametrizationConfig::GDN_MUP), moonlight, kWiderHeads);
  EXPECT_DOUBLE_EQ(table(kLr, found)["q_proj"], 0.5);  // m^-1/2
}

TEST(ActualFans, DecideWhereTheMlpDoesNotFollowTheWidth) {
  ModelSize target = kWiderHeads;
  target.mlp = 9 * kBase.mlp;  // width x 4, MLP x 9
  const Parametrization with_adamw = parametrize(kind(ParametrizationConfig::GDN_MUP), adamw(), target);
  EXPECT_DOUBLE_EQ(table(kInit, with_adamw)["down_proj"], 1.0 / 3);
  EXPECT_DOUBLE_EQ(table(kLr, with_adamw)["down_proj"], 1.0 / 9);
  EXPECT_DOUBLE_EQ(table(kLr, with_adamw)["q_proj"], 0.25);
  const Parametrization with_sgd = parametrize(kind(ParametrizationConfig::GDN_MUP), sgd(), target);
  EXPECT_DOUBLE_EQ(table(kLr, with_sgd)["down_proj"], 4.0 / 9);
}

TEST(ActualFans, DecideWhereHeadsDoNotFollowTheWidth) {
  const ModelSize target{.width = 1024, .heads = 24, .head_dim = 64, .mlp = 4096};  // m = 4, n = 2, channels x 6
  const double root = std::sqrt(2.0);
  EXPECT_EQ(table(kLr, parametrize(kind(ParametrizationConfig::GDN_MUP), sgd(), target)),
            (Table{{"embeddings", 4},
                   {"q_proj", 1.5},
                   {"o_proj", 4.0 / 6},
                   {"down_proj", 1},
                   {"a_proj", 3 * root / 4},
                   {"A_log", 3 * root},
                   {"q_conv", 6},
                   {"norm", 4},
                   {"o_norm", 2},
                   {"lm_head", 4}}));
}

TEST(BaseWidth, EveryMultiplierIsOne) {
  for (const auto k : {ParametrizationConfig::SP, ParametrizationConfig::MUP, ParametrizationConfig::GDN_MUP}) {
    for (OptimizerConfig optimizer : {adamw(), sgd()}) {
      optimizer.set_eps_rule(OptimizerConfig::WIDTH_SCALED);
      const Parametrization p = parametrize(kind(k), optimizer, kBase);
      for (const auto field : {kInit, kLr, kEps}) EXPECT_EQ(table(field, p), everywhere(1));
      EXPECT_EQ(p.forward_multipliers().logits, 1);
    }
  }
}

TEST(NarrowerThanBase, RulesGoBothWays) {
  const Parametrization p({}, adamw(), specs(kWiderHeads), specs(kBase), {.width = 0.25, .head_dim = 0.25});
  EXPECT_EQ(table(kInit, p)["q_proj"], 2);
  EXPECT_EQ(table(kLr, p)["q_proj"], 4);
  EXPECT_EQ(p.forward_multipliers().logits, 4);
}

TEST(Default, IsGdnMup) {
  EXPECT_EQ(table(kLr, parametrize({}, sgd(), kWiderHeads)),
            table(kLr, parametrize(kind(ParametrizationConfig::GDN_MUP), sgd(), kWiderHeads)));
}

TEST(Decay, OfMatricesOnlyAndWithTheLearningRate) {
  const Parametrization p = parametrize({}, adamw(), kWiderHeads);
  EXPECT_EQ(table(kDecay, p), (Table{{"embeddings", 0},
                                     {"q_proj", 0.25},
                                     {"o_proj", 0.25},
                                     {"down_proj", 0.25},
                                     {"a_proj", 0.25},
                                     {"A_log", 0},
                                     {"q_conv", 0},
                                     {"norm", 0},
                                     {"o_norm", 0},
                                     {"lm_head", 1}}));
}

TEST(Decay, IndependentOfTheLearningRate) {
  OptimizerConfig optimizer = adamw();
  optimizer.set_lr_decay_width(0);
  const Parametrization p = parametrize({}, optimizer, kWiderHeads);
  EXPECT_EQ(table(kDecay, p), (Table{{"embeddings", 0},
                                     {"q_proj", 1},
                                     {"o_proj", 1},
                                     {"down_proj", 1},
                                     {"a_proj", 1},
                                     {"A_log", 0},
                                     {"q_conv", 0},
                                     {"norm", 0},
                                     {"o_norm", 0},
                                     {"lm_head", 1}}));
}

TEST(Decay, HasOneExponentForEveryOptimizer) {
  for (const auto& [exponent, growth] : std::map<double, double>{{0, 1}, {-0.5, 0.5}, {-1, 0.25}}) {
    for (OptimizerConfig optimizer : {adamw(), sgd()}) {
      optimizer.set_lr_decay_width(exponent);
      ParametrizationConfig config;
      ScalingOverride& entry = *config.add_scaling();
      entry.set_role(ScalingOverride::HIDDEN);
      entry.set_lr_width(2);
      const Table decay = table(kDecay, parametrize(config, optimizer, kWiderHeads));
      for (const std::string name : {"q_proj", "down_proj", "a_proj"}) EXPECT_EQ(decay.at(name), growth) << exponent;
      EXPECT_EQ(decay.at("lm_head"), 1);
      EXPECT_EQ(decay.at("norm"), 0);
      EXPECT_EQ(table(kDecay, parametrize(kind(ParametrizationConfig::SP), optimizer, kWiderHeads)).at("q_proj"), 1);
    }
  }
}

// Multipliers are equal to the last bit: old checkpoints fit.
TEST(Decay, EarlierRulesKeepTheirMeaning) {
  const ModelSize target{.width = 768, .heads = 12, .head_dim = 64, .mlp = 1000};
  const auto decay = [&](OptimizerConfig optimizer, std::optional<OptimizerConfig::WeightDecayRule> rule,
                         std::optional<double> exponent = {}) {
    if (rule) optimizer.set_weight_decay_rule(*rule);
    if (exponent) optimizer.set_lr_decay_width(*exponent);
    return table(kDecay, parametrize({}, optimizer, target));
  };
  for (const OptimizerConfig& optimizer : {adamw(), sgd()}) {
    EXPECT_EQ(decay(optimizer, OptimizerConfig::INDEPENDENT), decay(optimizer, {}, 0));
    EXPECT_EQ(decay(optimizer, OptimizerConfig::SCALED_WITH_LR), decay(optimizer, {}));
    EXPECT_EQ(decay(optimizer, OptimizerConfig::INDEPENDENT, -1), decay(optimizer, {}, -1));
    const Table lr = table(kLr, parametrize({}, optimizer, target)), scaled = decay(optimizer, {});
    for (const std::string name : {"q_proj", "down_proj", "a_proj", "lm_head"}) EXPECT_EQ(scaled.at(name), lr.at(name));
  }
  EXPECT_EQ(decay(adamw(), {}), decay(adamw(), {}, -1));
}

TEST(Decay, FollowsAnOverriddenRate) {
  ParametrizationConfig config;
  ScalingOverride& entry = *config.add_scaling();
  entry.set_role(ScalingOverride::GATE);
  entry.set_lr_width(-2);
  EXPECT_EQ(table(kDecay, parametrize(config, adamw(), kWiderHeads))["a_proj"], 1.0 / 16);
}

TEST(Eps, FollowsTheWidthWhenAsked) {
  EXPECT_EQ(table(kEps, parametrize({}, adamw(), kBoth)), everywhere(1));
  OptimizerConfig optimizer = adamw();
  optimizer.set_eps_rule(OptimizerConfig::WIDTH_SCALED);
  EXPECT_EQ(table(kEps, parametrize({}, optimizer, kBoth)), everywhere(0.25));
}

TEST(Clip, OfSgdFollowsTheLearningRate) {
  for (OptimizerConfig optimizer : {adamw(), sgd()}) {
    const Parametrization p = parametrize({}, optimizer, kBoth);
    EXPECT_EQ(table(kClip, p), optimizer.has_sgd() ? table(kLr, p) : everywhere(1));
    optimizer.set_clip_rule(OptimizerConfig::GLOBAL_NORM);
    EXPECT_EQ(table(kClip, parametrize({}, optimizer, kBoth)), everywhere(1));
  }
}

class Depth : public ::testing::Test {
 protected:
  // Four times as deep, of the base's width or twice as wide.
  Parametrization deep(const OptimizerConfig& optimizer, const ModelSize& target = kBase) {
    GrowthRatios ratios = growth(target);
    ratios.depth = 4;
    return {config, optimizer, specs(kBase), specs(target), ratios};
  }
  static Table inside(double value) {
    Table all = everywhere(value);
    for (const std::string& name : kOutsideOfBlocks) all[name] = 1;
    return all;
  }

  ParametrizationConfig config;
};

TEST_F(Depth, IsIgnoredUnlessAsked) {
  for (const OptimizerConfig& optimizer : {adamw(), sgd()}) {
    for (const ModelSize& size : {kBase, kWiderHeads}) {
      const Parametrization expected = parametrize(config, optimizer, size), found = deep(optimizer, size);
      for (const auto field : {kInit, kLr, kEps, kDecay, kClip}) EXPECT_EQ(table(field, found), table(field, expected));
      EXPECT_EQ(found.forward_multipliers(), expected.forward_multipliers());
    }
  }
}

TEST_F(Depth, StandardIgnoresIt) {
  config.set_kind(ParametrizationConfig::SP);
  config.set_depth_exponent(1);
  EXPECT_EQ(table(kLr, deep(sgd())), everywhere(1));
  EXPECT_EQ(table(kEps, deep(adamw())), everywhere(1));
  EXPECT_EQ(deep(sgd()).forward_multipliers(), ForwardMultipliers());
}

TEST_F(Depth, CompleteP) {
  config.set_depth_exponent(1);
  EXPECT_EQ(deep(adamw()).forward_multipliers(), (ForwardMultipliers{.logits = 1, .residual = 0.25}));
  EXPECT_EQ(table(kLr, deep(adamw())), everywhere(1));
  EXPECT_EQ(table(kEps, deep(adamw())), inside(0.25));
  EXPECT_EQ(table(kLr, deep(sgd())), inside(4));
  EXPECT_EQ(table(kClip, deep(sgd())), inside(4));
  EXPECT_EQ(table(kInit, deep(sgd())), everywhere(1));
}

TEST_F(Depth, RootOfTheDepth) {
  config.set_depth_exponent(0.5);
  EXPECT_EQ(deep(adamw()).forward_multipliers().residual, 0.5);
  EXPECT_EQ(table(kLr, deep(adamw())), inside(0.5));
  EXPECT_EQ(table(kEps, deep(adamw())), inside(0.5));
  EXPECT_EQ(table(kLr, deep(sgd())), everywhere(1));
}

TEST_F(Depth, MultipliesWhatTheWidthAsksFor) {
  config.set_depth_exponent(0.5);
  OptimizerConfig optimizer = adamw();
  optimizer.set_eps_rule(OptimizerConfig::WIDTH_SCALED);
  const Parametrization p = deep(optimizer, kWiderHeads);
  EXPECT_EQ(table(kLr, p)["q_proj"], 0.25 * 0.5);
  EXPECT_EQ(table(kEps, p)["o_norm"], 0.25 * 0.5);
  EXPECT_EQ(table(kEps, p)["norm"], 0.25);
  EXPECT_EQ(p.forward_multipliers(), (ForwardMultipliers{.logits = 0.25, .residual = 0.5}));
  config.set_depth_exponent(1);
  EXPECT_EQ(table(kLr, deep(sgd(), kWiderHeads))["A_log"], 2 * 4);
}

TEST_F(Depth, DoesNotChangeTheDecay) {
  config.set_depth_exponent(0.5);
  EXPECT_EQ(table(kDecay, deep(adamw())), table(kDecay, parametrize({}, adamw(), kBase)));
}

TEST_F(Depth, OverridesReplaceItsExponentAlone) {
  config.set_depth_exponent(1);
  ScalingOverride& entry = *config.add_scaling();
  entry.set_role(ScalingOverride::NORM);
  entry.set_lr_depth(-0.5);
  EXPECT_EQ(table(kLr, deep(sgd(), kWiderHeads))["o_norm"], 4 * 0.5);
  EXPECT_EQ(table(kLr, deep(adamw()))["norm"], 0.5) << "of all parameters of the role";
  EXPECT_EQ(table(kLr, deep(sgd()))["q_conv"], 4) << "another role";
  entry.set_lr_width(-1);
  entry.clear_lr_depth();
  EXPECT_EQ(table(kLr, deep(sgd(), kWiderHeads))["o_norm"], 0.25 * 4) << "the depth keeps its rule";
}

class Overrides : public ::testing::Test {
 protected:
  ScalingOverride& add(ScalingOverride::Role role) {
    ScalingOverride& entry = *config.add_scaling();
    entry.set_role(role);
    return entry;
  }
  double lr(const OptimizerConfig& optimizer, const std::string& name) {
    return table(kLr, parametrize(config, optimizer, kBoth))[name];  // m = 4, n = 2
  }
  double init(const std::string& name) { return table(kInit, parametrize(config, adamw(), kBoth))[name]; }

  ParametrizationConfig config;
};

TEST_F(Overrides, ReplaceTheRatesOfTheirRole) {
  ScalingOverride& entry = add(ScalingOverride::GATE);
  entry.set_lr_width(-0.5);
  entry.set_lr_head_dim(2);
  EXPECT_EQ(lr(sgd(), "a_proj"), 0.5 * 4);
  EXPECT_EQ(lr(adamw(), "a_proj"), 0.5 * 4) << "ANY optimizer";
  EXPECT_EQ(lr(adamw(), "q_proj"), 0.25) << "another role";
  EXPECT_EQ(init("a_proj"), 0.5) << "a pair left out keeps its rule";
}

TEST_F(Overrides, HoldForTheirOptimizerOnly) {
  ScalingOverride& entry = add(ScalingOverride::NORM);
  entry.set_optimizer(ScalingOverride::ADAMW);
  entry.set_lr_width(-1);
  EXPECT_EQ(lr(adamw(), "norm"), 0.25);
  EXPECT_EQ(lr(adamw(), "o_norm"), 0.25) << "by exponents, not by the parameter's own size";
  EXPECT_EQ(lr(sgd(), "norm"), 4);
  config.mutable_scaling(0)->set_optimizer(ScalingOverride::SGD);
  EXPECT_EQ(lr(adamw(), "norm"), 1);
  EXPECT_EQ(lr(sgd(), "norm"), 0.25);
}

TEST_F(Overrides, AHalfGivenPairCountsZeroForTheOther) {
  add(ScalingOverride::GATE_SCALAR).set_lr_head_dim(1);
  EXPECT_EQ(lr(sgd(), "A_log"), 2);
}

TEST_F(Overrides, ReplaceInit) {
  add(ScalingOverride::HIDDEN).set_init_width(-1);
  EXPECT_EQ(init("q_proj"), 0.25);
  EXPECT_EQ(lr(adamw(), "q_proj"), 0.25);
  add(ScalingOverride::EMBEDDING).set_init_head_dim(1);
  EXPECT_EQ(init("embeddings"), 2);
}

TEST_F(Overrides, LaterEntriesWin) {
  add(ScalingOverride::CONV).set_lr_width(1);
  add(ScalingOverride::CONV).set_lr_width(-1);
  EXPECT_EQ(lr(adamw(), "q_conv"), 0.25);
  add(ScalingOverride::CONV).set_init_width(1);
  EXPECT_EQ(lr(adamw(), "q_conv"), 0.25) << "an entry without rates leaves them";
}

TEST_F(Overrides, ReachEveryRole) {
  const std::map<ScalingOverride::Role, std::string> names = {{ScalingOverride::EMBEDDING, "embeddings"},
                                                              {ScalingOverride::READOUT, "lm_head"},
                                                              {ScalingOverride::HIDDEN, "o_proj"},
                                                              {ScalingOverride::GATE, "a_proj"},
                                                              {ScalingOverride::GATE_SCALAR, "A_log"},
                                                              {ScalingOverride::CONV, "q_conv"},
                                                              {ScalingOverride::NORM, "norm"}};
  for (const auto& [role, name] : names) {
    config.clear_scaling();
    add(role).set_lr_width(3);
    EXPECT_EQ(lr(sgd(), name), 64) << name;
  }
}

TEST(Mismatch, IsRefusedByName) {
  const auto refuses = [](const std::vector<ParameterSpec>& base, const std::vector<ParameterSpec>& target,
                          GrowthRatios ratios, auto message) {
    EXPECT_THAT([&] { Parametrization({}, adamw(), base, target, ratios); }, ThrowsMessage<Error>(message));
  };
  const auto good = specs(kBase);
  auto other = good;
  other.pop_back();
  refuses(other, good, {}, HasSubstr("the model has 10 parameters, its base 9"));
  other = good;
  other[1].name = "k_proj";
  refuses(other, good, {}, AllOf(HasSubstr("q_proj"), HasSubstr("k_proj")));
  other = good;
  other[1].role = Role::kGate;
  refuses(other, good, {}, AllOf(HasSubstr("q_proj has role HIDDEN"), HasSubstr("GATE in the base")));
  other = good;
  other[2].fan_in = 0;
  refuses(other, good, {}, HasSubstr("fan-in of o_proj is 512, 0 in the base"));
  other[2] = good[2];
  other[7].shape = Shape{0};
  refuses(good, other, {}, HasSubstr("number of elements of norm is 0"));
  refuses(good, good, {.width = 0}, HasSubstr("growth in width is 0"));
  refuses(good, good, {.head_dim = -1}, HasSubstr("in head_dim -1"));
  refuses(good, good, {.depth = 0}, HasSubstr("in depth 0"));
}

}  // namespace
}  // namespace mudelta
