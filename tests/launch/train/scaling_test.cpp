#include "launch/train/scaling.h"

#include <gmock/gmock.h>

#include "model/config.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

RunConfig paper(std::int64_t width) {
  RunConfig config;
  config.mutable_model()->set_width(width);
  config.mutable_model()->set_vocab_size(1000);
  *config.mutable_model() = resolve(config.model());
  return config;
}

TEST(BaseModel, IsTheModelItselfWithoutBaseWidth) {
  const RunConfig config = paper(512);
  EXPECT_EQ(base_model(config).SerializeAsString(), config.model().SerializeAsString());
  const Parametrization parametrization = make_parametrization(config);
  EXPECT_EQ(parametrization.forward_multipliers().logits, 1);
  for (const ParameterScaling& scaling : parametrization.scaling()) {
    EXPECT_EQ(scaling.lr, 1);
    EXPECT_EQ(scaling.init, 1);
  }
}

TEST(BaseModel, HeadDimGrowsUnlessBaseHeadsAreGiven) {
  RunConfig config = paper(1024);
  config.mutable_parametrization()->set_base_width(256);
  ModelConfig base = base_model(config);
  EXPECT_EQ(base.heads(), 6);
  EXPECT_EQ(base.head_dim(), 32);
  EXPECT_EQ(base.mlp_size(), 1024);
  GrowthRatios growth = growth_ratios(base, config);
  EXPECT_EQ(growth.width, 4);
  EXPECT_EQ(growth.head_dim, 4);

  config.mutable_model()->set_heads(8);
  config.mutable_model()->set_value_heads(16);
  config.mutable_model()->set_head_dim(32);
  config.mutable_parametrization()->set_base_heads(2);
  base = base_model(config);
  EXPECT_EQ(base.heads(), 2);
  EXPECT_EQ(base.value_heads(), 4);
  EXPECT_EQ(base.head_dim(), 32);
  growth = growth_ratios(base, config);
  EXPECT_EQ(growth.width, 4);
  EXPECT_EQ(growth.head_dim, 1);
}

TEST(BaseModel, SizesThatDoNotDivideAreNamed) {
  using ::testing::HasSubstr;
  RunConfig config = paper(512);
  config.mutable_parametrization()->set_base_heads(3);
  EXPECT_THAT(testing::error_of([&] { base_model(config); }), HasSubstr("parametrization.base_width is not given"));
  config.mutable_parametrization()->set_base_width(101);
  EXPECT_THAT(testing::error_of([&] { base_model(config); }), HasSubstr("parametrization.base_"));
}

}  // namespace
}  // namespace mudelta
