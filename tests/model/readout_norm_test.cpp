// The unit of model.o_norm_eps: the same at every head_dim, and what older configurations said in its place.

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/mixer.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

ModelConfig config_of(std::int64_t head_dim) {
  ModelConfig config;
  config.set_width(32);
  config.set_layers(1);
  config.set_heads(2);
  config.set_head_dim(head_dim);
  config.set_expand_v(1);
  config.set_vocab_size(11);
  return config;
}

// The input of W_o for documents of one token, whose q and k are independent and whose v is of order 1.
Tensor gated_readout(const ModelConfig& config) {
  constexpr std::int64_t kDocuments = 200;
  SmallModel small(config);
  fill(small.store, [](const ParameterSpec& spec, std::int64_t i) {
    const CounterRng rng(1, spec.name);
    switch (spec.role) {
      case Role::kNorm: return 1.0;
      case Role::kGateScalar: return 0.0;
      // silu halves small numbers and keeps their signs; of numbers of order 1 it makes a mean, by which q and k agree.
      case Role::kConv: return spec.name.ends_with("v_conv1d.weight") ? 1.0 : 0.01;
      default: return rng.normal(static_cast<std::uint64_t>(i)) / std::sqrt(static_cast<double>(spec.fan_in));
    }
  });
  Tensor y;
  Pass pass{.cu_seqlens = cu_seqlens_of(std::vector<std::int64_t>(kDocuments, 1)), .stream = Stream{}};
  pass.observer = [&](std::string_view name, int, const Tensor& tensor) {
    if (name == "y") y = tensor.clone();
  };
  const Shape shape{kDocuments, small.config.width()};
  const Mixer mixer(small.config, small.store, layer_prefix(0) + "attn.");
  mixer.forward_add(random_normal(shape, "x"), Tensor::zeros(shape), nullptr, pass);
  return y;
}

Tensor gated_readout(ModelConfig config, double o_norm_eps) {
  config.set_o_norm_eps(o_norm_eps);
  return gated_readout(config);
}

double rms(const Tensor& x) {
  double sum = 0;
  for (const float value : x.span<float>()) sum += value * value;
  return std::sqrt(sum / static_cast<double>(x.numel()));
}

TEST(ReadoutNorm, DampsTheSameShareAtEveryHeadDim) {
  for (const double eps : {1e-2, 1.0}) {
    const auto share = [&](std::int64_t head_dim) {
      return rms(gated_readout(config_of(head_dim), eps)) / rms(gated_readout(config_of(head_dim), 1e-12));
    };
    const double at_8 = share(8);
    EXPECT_LT(at_8, eps == 1.0 ? 0.5 : 0.95);
    EXPECT_GT(at_8, eps == 1.0 ? 0.1 : 0.5);
    for (const std::int64_t head_dim : {32, 128}) EXPECT_NEAR(share(head_dim), at_8, 0.2 * at_8) << eps;
  }
}

TEST(ReadoutNorm, OlderConfigurationsKeepTheirMeaning) {
  ModelConfig older = config_of(8);
  older.set_norm_eps(1e-3);
  older.set_query_scale(ModelConfig::RMS);
  EXPECT_TRUE(same_bits(gated_readout(older), gated_readout(config_of(8), 1e-3)));
  older.set_query_scale(ModelConfig::INV_SQRT);
  EXPECT_TRUE(close(gated_readout(older), gated_readout(config_of(8), 64e-3), 1e-6));
}

}  // namespace
}  // namespace mudelta::testing
