#include "optim/optimizer_kind.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>

#include <cmath>
#include <set>
#include <string>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::SizeIs;
using ::testing::StartsWith;

OptimizerConfig config_of(OptimizerKind kind) {
  OptimizerConfig config;
  choose(config, kind);
  return config;
}

TEST(OptimizerKind, AdamWUnlessAnotherIsGiven) {
  EXPECT_EQ(kind_of(OptimizerConfig()), OptimizerKind::kAdamW);
  OptimizerConfig sgd;
  sgd.mutable_sgd();
  EXPECT_EQ(kind_of(sgd), OptimizerKind::kSgd);
}

// A member of the configuration without a row, or a row without its names.
TEST(OptimizerKind, TheTableHasThemAll) {
  const auto& members = *OptimizerConfig::descriptor()->FindOneofByName("kind");
  ASSERT_THAT(optimizer_kinds(), SizeIs(members.field_count()));
  std::set<std::string_view> names, titles, fields;
  for (const OptimizerKind kind : optimizer_kinds()) {
    names.insert(name_of(kind)), titles.insert(title_of(kind)), fields.insert(field_of(kind));
    EXPECT_EQ(parse_optimizer_kind(name_of(kind)), kind);
    EXPECT_NE(members.containing_type()->FindFieldByName(std::string(field_of(kind)))->containing_oneof(), nullptr);
    EXPECT_NE(ScalingOverride::Optimizer_descriptor()->FindValueByName(std::string(name_of(kind))), nullptr);
    EXPECT_EQ(kind_of(config_of(kind)), kind);
    EXPECT_FALSE(state_names(kind).empty());
  }
  for (const auto& distinct : {names, titles, fields}) EXPECT_THAT(distinct, SizeIs(optimizer_kinds().size()));
  EXPECT_EQ(error_of([] { parse_optimizer_kind("adamw"); }), "the optimizer is adamw, expected ADAMW or SGD or MUON");
  EXPECT_THAT(state_names(OptimizerKind::kAdamW), ElementsAre("exp_avg", "exp_avg_sq"));
  EXPECT_THAT(state_names(OptimizerKind::kSgd), ElementsAre("momentum_buffer"));
}

TEST(OptimizerKind, ChoosingKeepsSettingsOfTheSameKind) {
  OptimizerConfig config = config_of(OptimizerKind::kSgd);
  set_peak_lr(config, 7);
  choose(config, OptimizerKind::kSgd);
  EXPECT_EQ(config.sgd().lr(), 7);
  choose(config, OptimizerKind::kAdamW);
  EXPECT_EQ(peak_lr(config), AdamWConfig().lr());
}

TEST(OptimizerKind, SettingsAreThoseOfTheChosenOne) {
  OptimizerConfig adamw = config_of(OptimizerKind::kAdamW), sgd = config_of(OptimizerKind::kSgd);
  set_peak_lr(adamw, 0.5), set_peak_lr(sgd, 0.25);
  EXPECT_EQ(adamw.adamw().lr(), 0.5);
  EXPECT_EQ(peak_lr(adamw), 0.5);
  EXPECT_EQ(sgd.sgd().lr(), 0.25);
  EXPECT_EQ(peak_lr(sgd), 0.25);
  adamw.mutable_adamw()->set_weight_decay(0.3), sgd.mutable_sgd()->set_weight_decay(0.4);
  EXPECT_EQ(weight_decay(adamw), 0.3);
  EXPECT_EQ(weight_decay(sgd), 0.4);
  adamw.mutable_adamw()->set_eps(1e-5);
  EXPECT_EQ(eps(adamw), 1e-5);
  EXPECT_EQ(eps(sgd), std::nullopt);
  EXPECT_EQ(peak_lr(OptimizerConfig()), AdamWConfig().lr());
}

TEST(OptimizerKind, MuonHasAdamWBesideIt) {
  OptimizerConfig muon = config_of(OptimizerKind::kMuon);
  set_peak_lr(muon, 0.5);
  muon.mutable_muon()->mutable_adamw()->set_lr(0.25);
  muon.mutable_muon()->mutable_adamw()->set_weight_decay(0.3);
  EXPECT_EQ(update_kind(OptimizerKind::kMuon, Role::kHidden), OptimizerKind::kMuon);
  for (const Role role : {Role::kEmbedding, Role::kReadout, Role::kGate, Role::kGateScalar, Role::kConv, Role::kNorm}) {
    EXPECT_EQ(update_kind(OptimizerKind::kMuon, role), OptimizerKind::kAdamW);
    EXPECT_EQ(update_kind(OptimizerKind::kSgd, role), OptimizerKind::kSgd);
  }
  EXPECT_EQ(peak_lr(muon, OptimizerKind::kMuon), 0.5);
  EXPECT_EQ(peak_lr(muon, OptimizerKind::kAdamW), 0.25);
  EXPECT_EQ(weight_decay(muon, OptimizerKind::kMuon), MuonConfig().weight_decay());
  EXPECT_EQ(weight_decay(muon, OptimizerKind::kAdamW), 0.3);
  EXPECT_EQ(eps(muon), AdamWConfig().eps());
  muon.mutable_muon()->mutable_adamw()->set_beta2(1.5);
  EXPECT_THAT(error_of([&] { validate(muon); }), StartsWith("optimizer.muon.adamw.beta2 is 1.5: expected "));
  muon.mutable_muon()->clear_adamw();
  muon.mutable_muon()->set_iterations(0);
  EXPECT_EQ(error_of([&] { validate(muon); }), "optimizer.muon.iterations is 0, expected at least 1");
}

TEST(OptimizerKind, UpdateScalesAreTheirFormulas) {
  MuonConfig muon;
  const ParameterSpec wide{.name = "w", .shape = {2, 8}, .fan_in = 8, .fan_out = 2};
  const ParameterSpec tall{.name = "t", .shape = {8, 2}, .fan_in = 2, .fan_out = 8};
  EXPECT_EQ(update_scale(muon, wide), 0.5);
  EXPECT_EQ(update_scale(muon, tall), 2);
  muon.set_update_scale(MuonConfig::SQRT_MAX_1_OUT_OVER_IN);
  EXPECT_EQ(update_scale(muon, wide), 1);
  EXPECT_EQ(update_scale(muon, tall), 2);
  muon.set_update_scale(MuonConfig::POINT_2_SQRT_MAX);
  EXPECT_DOUBLE_EQ(update_scale(muon, wide), 0.2 * std::sqrt(8.0));
  EXPECT_DOUBLE_EQ(update_scale(muon, tall), 0.2 * std::sqrt(8.0));
}

// Every number of every kind has a check.
TEST(OptimizerKind, NumbersOutOfRangeAreNamed) {
  for (const OptimizerKind kind : optimizer_kinds()) {
    validate(config_of(kind));
    const FieldDescriptor& member = *OptimizerConfig::descriptor()->FindFieldByName(std::string(field_of(kind)));
    for (int i = 0; i < member.message_type()->field_count(); ++i) {
      const FieldDescriptor& field = *member.message_type()->field(i);
      if (field.cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE) continue;
      OptimizerConfig config = config_of(kind);
      Message& settings = *config.GetReflection()->MutableMessage(&config, &member);
      settings.GetReflection()->SetDouble(&settings, &field, -1);
      EXPECT_THAT(error_of([&] { validate(config); }),
                  StartsWith(fmt::format("optimizer.{}.{} is -1: expected ", member.name(), field.name())));
    }
  }
}

}  // namespace
}  // namespace mudelta
