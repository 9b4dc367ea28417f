#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/parameter.h"
#include "model/config.pb.h"

namespace mudelta {

// The parameters of a model as its layers add them, whole, whatever part of them a rank will hold.
class SpecList {
 public:
  explicit SpecList(const ModelConfig& config) : config_(config) {}

  // [fan_out, fan_in], cut over the tensor group along `shard_dim`, in pieces of `unit`.
  void matrix(std::string name, Role role, std::int64_t fan_out, std::int64_t fan_in, int shard_dim,
              std::int64_t unit = 1) {
    add({.name = std::move(name),
         .role = role,
         .shape = {fan_out, fan_in},
         .fan_in = fan_in,
         .fan_out = fan_out,
         .shard_dim = shard_dim,
         .shard_unit = unit,
         .initializer = {Initializer::Kind::kNormal, config_.init_std()}});
  }
  // [size], on every rank.
  void gain(std::string name, std::int64_t size, ParameterSpec::Meets meets) {
    add({.name = std::move(name),
         .role = Role::kNorm,
         .shape = {size},
         .fan_in = 1,
         .fan_out = size,
         .meets = meets,
         .keep_float32 = true,
         .initializer = {Initializer::Kind::kConstant, 1}});
  }
  // Of a convolution, [channels, 1, taps], cut in pieces of `unit` channels.
  void taps(std::string name, std::int64_t channels, std::int64_t unit) {
    add({.name = std::move(name),
         .role = Role::kConv,
         .shape = {channels, 1, config_.conv_size()},
         .fan_in = config_.conv_size(),
         .fan_out = channels,
         .shard_dim = 0,
         .shard_unit = unit,
         .keep_float32 = true,
         .initializer = {Initializer::Kind::kNormal, config_.conv_init_std()}});
  }
  // [heads]
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

  // Parameters added from here on belong to the next unit, a block or not; those before to number 0, which is none.
  void next_unit(bool is_block) {
    ++unit_;
    in_block_ = is_block;
  }

  std::vector<ParameterSpec> take() { return std::move(specs_); }

 private:
  void add(ParameterSpec spec) {
    spec.unit = unit_;
    spec.in_block = in_block_;
    specs_.push_back(std::move(spec));
  }

  const ModelConfig& config_;
  std::vector<ParameterSpec> specs_;
  int unit_ = 0;
  bool in_block_ = false;
};

}  // namespace mudelta
