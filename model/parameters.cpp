#include "model/parameters.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "model/config.h"

namespace mudelta {
namespace {

using Kind = Initializer::Kind;

// Builds specs for one model; each method appends one parameter.
class SpecList {
 public:
  explicit SpecList(double init_std) : init_std_(init_std) {}

  void matrix(std::string name, Role role, std::int64_t fan_out, std::int64_t fan_in, int shard_dim) {
    add({.name = std::move(name),
         .role = role,
         .shape = {fan_out, fan_in},
         .fan_in = fan_in,
         .fan_out = fan_out,
         .shard_dim = shard_dim,
         .initializer = {Kind::kNormal, init_std_}});
  }
  void gain(std::string name, std::int64_t size) {
    add({.name = std::move(name),
         .role = Role::kNorm,
         .shape = {size},
         .fan_in = 1,
         .fan_out = size,
         .keep_float32 = true,
         .initializer = {Kind::kConstant, 1}});
  }
  void taps(std::string name, std::int64_t channels, std::int64_t taps, double std) {
    add({.name = std::move(name),
         .role = Role::kConv,
         .shape = {channels, 1, taps},
         .fan_in = taps,
         .fan_out = channels,
         .shard_dim = 0,
         .keep_float32 = true,
         .initializer = {Kind::kNormal, std}});
  }
  void gate_scalar(std::string name, std::int64_t heads, Initializer initializer) {
    add({.name = std::move(name),
         .role = Role::kGateScalar,
         .shape = {heads},
         .fan_in = 1,
         .fan_out = heads,
         .shard_dim = 0,
         .keep_float32 = true,
         .initializer = initializer});
  }

  std::vector<ParameterSpec> take() { return std::move(specs_); }

 private:
  void add(ParameterSpec spec) { specs_.push_back(std::move(spec)); }

  double init_std_;
  std::vector<ParameterSpec> specs_;
};

void add_layer(SpecList& specs, const ModelConfig& c, const std::string& prefix) {
  const std::int64_t key_size = c.heads() * c.head_dim();
  const std::int64_t value_size = c.value_heads() * value_dim(c);
  specs.gain(prefix + "attn_norm.weight", c.width());
  const std::string mixer = prefix + "attn.";
  specs.matrix(mixer + "q_proj.weight", Role::kHidden, key_size, c.width(), 0);
  specs.matrix(mixer + "k_proj.weight", Role::kHidden, key_size, c.width(), 0);
  specs.matrix(mixer + "v_proj.weight", Role::kHidden, value_size, c.width(), 0);
  specs.matrix(mixer + "a_proj.weight", Role::kGate, c.value_heads(), c.width(), 0);
  specs.matrix(mixer + "b_proj.weight", Role::kGate, c.value_heads(), c.width(), 0);
  specs.gate_scalar(mixer + "A_log", c.value_heads(), {Kind::kLogOfUniform, 0, 16});
  specs.gate_scalar(mixer + "dt_bias", c.value_heads(), {Kind::kInverseSoftplusOfLogUniform, 1e-3, 1e-1});
  specs.taps(mixer + "q_conv1d.weight", key_size, c.conv_size(), c.conv_init_std());
  specs.taps(mixer + "k_conv1d.weight", key_size, c.conv_size(), c.conv_init_std());
  specs.taps(mixer + "v_conv1d.weight", value_size, c.conv_size(), c.conv_init_std());
  specs.matrix(mixer + "g_proj.weight", Role::kHidden, value_size, c.width(), 0);
  specs.gain(mixer + "o_norm.weight", value_dim(c));
  specs.matrix(mixer + "o_proj.weight", Role::kHidden, c.width(), value_size, 1);
  specs.gain(prefix + "mlp_norm.weight", c.width());
  specs.matrix(prefix + "mlp.gate_proj.weight", Role::kHidden, c.mlp_size(), c.width(), 0);
  specs.matrix(prefix + "mlp.up_proj.weight", Role::kHidden, c.mlp_size(), c.width(), 0);
  specs.matrix(prefix + "mlp.down_proj.weight", Role::kHidden, c.width(), c.mlp_size(), 1);
}

}  // namespace

std::string layer_prefix(int layer) { return fmt::format("model.layers.{}.", layer); }

std::vector<ParameterSpec> parameter_specs(const ModelConfig& c) {
  SpecList specs(c.init_std());
  specs.matrix("model.embeddings.weight", Role::kEmbedding, c.vocab_size(), c.width(), 0);
  for (int layer = 0; layer < c.layers(); ++layer) add_layer(specs, c, layer_prefix(layer));
  specs.gain("model.norm.weight", c.width());
  if (!c.tie_embeddings()) specs.matrix("lm_head.weight", Role::kReadout, c.vocab_size(), c.width(), 0);
  return specs.take();
}

}  // namespace mudelta
