#pragma once

#include <span>
#include <vector>

#include "core/parameter.h"
#include "optim/config.pb.h"

namespace mudelta {

// How much wider the model is than its base: the two axes along which a GDN grows.
struct GrowthRatios {
  double width = 1;     // m = width / base width
  double head_dim = 1;  // n = head_dim / base head_dim
};

// Multipliers of one parameter relative to the base model; 1 everywhere at the base width.
struct ParameterScaling {
  double init = 1;  // of the spread of the initial values
  double lr = 1;
  double eps = 1;    // of AdamW's eps
  double decay = 0;  // of lr x weight_decay; 0: does not decay
  double clip = 1;   // of the squared gradient in the norm that is clipped
};

// Scaling rules (SP, MUP, GDN_MUP; docs/mup.md), evaluated for a model from the actual fans of its parameters and of
// those of its base. They are computed once, from whole-model shapes, so that they do not depend on the layout.
// With m and n of GrowthRatios, and "x" meaning the growth of x (AdamW's lr rule, then SGD's):
//   EMBEDDING, READOUT   init 1               lr 1;         m
//   HIDDEN               init fan_in^-1/2     lr 1/fan_in;  fan_out/fan_in
//   GATE                 init fan_in^-1/2     lr 1/fan_in;  fan_out n^1/2/fan_in (MUP: 1)
//   GATE_SCALAR          init 1               lr 1;         numel n^1/2 (MUP: m)
//   CONV, NORM           init 1               lr 1;         numel
// Where everything grows in proportion, GATE is n^-1/2, GATE_SCALAR m n^-1/2, CONV m, NORM m (o_norm: n).
// SP: all 1. Logits: 1/m (SP: 1). ParametrizationConfig.scaling and OptimizerConfig.eps_rule hold under every kind.
class Parametrization {
 public:
  // `base` and `target`: the same parameters (names, roles) in the same order; throws Error otherwise,
  // and on sizes or growth that are not positive. Fans are read of HIDDEN and GATE only.
  Parametrization(const ParametrizationConfig& config, const OptimizerConfig& optimizer,
                  std::span<const ParameterSpec> base, std::span<const ParameterSpec> target, GrowthRatios growth);

  // One entry per parameter, in the order of `target`.
  const std::vector<ParameterScaling>& scaling() const { return scaling_; }
  // Factor on the logits.
  double logit_multiplier() const { return logit_multiplier_; }

 private:
  std::vector<ParameterScaling> scaling_;
  double logit_multiplier_ = 1;
};

}  // namespace mudelta
