#pragma once

#include <span>
#include <vector>

#include "core/forward_multipliers.h"
#include "core/parameter.h"
#include "optim/config.pb.h"

namespace mudelta {

// How much larger the model is than its base: the axes along which a GDN grows.
struct GrowthRatios {
  double width = 1;     // m = width / base width
  double head_dim = 1;  // n = head_dim / base head_dim
  double depth = 1;     // L = layers / base layers
};

// Multipliers of one parameter relative to the base model; 1 everywhere in the base model.
struct ParameterScaling {
  double init = 1;  // of the spread of the initial values
  double lr = 1;
  double eps = 1;    // of AdamW's eps
  double decay = 0;  // of lr x weight_decay, without `lr`; 0: does not decay
  double clip = 1;   // of the squared gradient in the norm that is clipped
};

// Scaling rules (SP, MUP, GDN_MUP; docs/mup.md), evaluated for a model from the actual fans of its parameters and of
// those of its base. They are computed once, from whole-model shapes, so that they do not depend on the layout.
// With m, n and L of GrowthRatios, a = depth_exponent, and "x" meaning the growth of x:
//                       init          AdamW lr    SGD lr
//   EMBEDDING, READOUT  1             1           m
//   HIDDEN              fan_in^-1/2   1/fan_in    fan_out/fan_in
//   GATE                fan_in^-1/2   1/fan_in    fan_out n^1/2/fan_in (MUP: 1)
//   GATE_SCALAR         1             1           numel n^1/2 (MUP: m)
//   CONV, NORM          1             1           numel
//   in blocks, times    1             L^(a-1)     L^(2a-1)                with depth_exponent; AdamW's eps L^-a
// With Muon, lr of HIDDEN is (fan_out/fan_in)^1/2 over the growth of its update_scale, times L^(a-1); others are
// AdamW's. Where everything grows in proportion, GATE is n^-1/2, GATE_SCALAR m n^-1/2, CONV m, NORM m (o_norm: n).
// Logits: 1/m; what blocks add to the residual stream: L^-a. SP: all 1. ParametrizationConfig.scaling and
// OptimizerConfig.eps_rule hold under every kind.
class Parametrization {
 public:
  // `base` and `target`: the same parameters (names, roles) in the same order; throws Error otherwise,
  // and on sizes or growth that are not positive. Fans are read of HIDDEN and GATE only.
  Parametrization(const ParametrizationConfig& config, const OptimizerConfig& optimizer,
                  std::span<const ParameterSpec> base, std::span<const ParameterSpec> target, GrowthRatios growth);

  // One entry per parameter, in the order of `target`.
  const std::vector<ParameterScaling>& scaling() const { return scaling_; }
  const ForwardMultipliers& forward_multipliers() const { return forward_multipliers_; }

 private:
  std::vector<ParameterScaling> scaling_;
  ForwardMultipliers forward_multipliers_;
};

}  // namespace mudelta
