#include "optim/parametrization.h"

#include <cmath>

#include "core/error.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

// Growth from a base parameter to the same parameter of the target.
struct ParameterGrowth {
  double fan_in = 1;  // the fans: of HIDDEN and GATE only
  double fan_out = 1;
  double numel = 1;
};

bool has_fans(Role role) { return role == Role::kHidden || role == Role::kGate; }

double ratio(std::int64_t target, std::int64_t base, std::string_view what, const ParameterSpec& spec) {
  require(target > 0 && base > 0, "[parametrization] {} of {} is {}, {} in the base, expected both > 0", what,
          spec.name, target, base);
  return static_cast<double>(target) / static_cast<double>(base);
}

ParameterGrowth growth_of(const ParameterSpec& base, const ParameterSpec& target) {
  require(base.name == target.name, "[parametrization] parameter {} stands where the base has {}", target.name,
          base.name);
  require(base.role == target.role, "[parametrization] {} has role {}, {} in the base", target.name,
          name_of(target.role), name_of(base.role));
  ParameterGrowth growth;
  growth.numel = ratio(target.shape.numel(), base.shape.numel(), "number of elements", target);
  if (has_fans(target.role)) {
    growth.fan_in = ratio(target.fan_in, base.fan_in, "fan-in", target);
    growth.fan_out = ratio(target.fan_out, base.fan_out, "fan-out", target);
  }
  return growth;
}

double init_rule(ParametrizationConfig::Kind kind, Role role, const ParameterGrowth& parameter) {
  if (kind == ParametrizationConfig::SP || !has_fans(role)) return 1;
  return 1 / std::sqrt(parameter.fan_in);
}

double adamw_lr_rule(ParametrizationConfig::Kind kind, Role role, const ParameterGrowth& parameter) {
  if (kind == ParametrizationConfig::SP || !has_fans(role)) return 1;
  return 1 / parameter.fan_in;
}

double sgd_lr_rule(ParametrizationConfig::Kind kind, Role role, const ParameterGrowth& parameter,
                   const GrowthRatios& model) {
  if (kind == ParametrizationConfig::SP) return 1;
  const bool gdn = kind == ParametrizationConfig::GDN_MUP;
  switch (role) {
    case Role::kEmbedding:
    case Role::kReadout: return model.width;
    case Role::kHidden: return parameter.fan_out / parameter.fan_in;
    case Role::kGate: return gdn ? parameter.fan_out * std::sqrt(model.head_dim) / parameter.fan_in : 1;
    case Role::kGateScalar: return gdn ? parameter.numel * std::sqrt(model.head_dim) : model.width;
    case Role::kConv:
    case Role::kNorm: return parameter.numel;
  }
  fail("[parametrization] unknown role {}", static_cast<int>(role));
}

double lr_rule(ParametrizationConfig::Kind kind, OptimizerKind optimizer, Role role, const ParameterGrowth& parameter,
               const GrowthRatios& model) {
  switch (optimizer) {
    case OptimizerKind::kAdamW: return adamw_lr_rule(kind, role, parameter);
    case OptimizerKind::kSgd: return sgd_lr_rule(kind, role, parameter, model);
  }
  fail("[parametrization] unknown optimizer {}", static_cast<int>(optimizer));
}

bool applies(const ScalingOverride& entry, Role role, OptimizerKind optimizer) {
  if (ScalingOverride::Role_Name(entry.role()) != name_of(role)) return false;
  return entry.optimizer() == ScalingOverride::ANY ||
         ScalingOverride::Optimizer_Name(entry.optimizer()) == name_of(optimizer);
}

double power(const GrowthRatios& model, double width_exponent, double head_dim_exponent) {
  return std::pow(model.width, width_exponent) * std::pow(model.head_dim, head_dim_exponent);
}

void apply(const ScalingOverride& entry, const GrowthRatios& model, ParameterScaling& scaling) {
  if (entry.has_lr_width() || entry.has_lr_head_dim()) {
    scaling.lr = power(model, entry.lr_width(), entry.lr_head_dim());
  }
  if (entry.has_init_width() || entry.has_init_head_dim()) {
    scaling.init = power(model, entry.init_width(), entry.init_head_dim());
  }
}

bool decays(Role role) { return role == Role::kHidden || role == Role::kGate || role == Role::kReadout; }

ParameterScaling scaling_of(const ParametrizationConfig& config, const OptimizerConfig& optimizer, Role role,
                            const ParameterGrowth& parameter, const GrowthRatios& model) {
  const OptimizerKind optimizer_kind = kind_of(optimizer);
  ParameterScaling scaling;
  scaling.init = init_rule(config.kind(), role, parameter);
  scaling.lr = lr_rule(config.kind(), optimizer_kind, role, parameter, model);
  for (const ScalingOverride& entry : config.scaling()) {
    if (applies(entry, role, optimizer_kind)) apply(entry, model, scaling);
  }
  if (optimizer.eps_rule() == OptimizerConfig::WIDTH_SCALED) scaling.eps = 1 / model.width;
  if (decays(role)) {
    scaling.decay = optimizer.weight_decay_rule() == OptimizerConfig::SCALED_WITH_LR ? scaling.lr : 1;
  }
  if (optimizer_kind == OptimizerKind::kSgd && optimizer.clip_rule() == OptimizerConfig::WEIGHTED_NORM) {
    scaling.clip = scaling.lr;
  }
  return scaling;
}

}  // namespace

Parametrization::Parametrization(const ParametrizationConfig& config, const OptimizerConfig& optimizer,
                                 std::span<const ParameterSpec> base, std::span<const ParameterSpec> target,
                                 GrowthRatios growth) {
  require(base.size() == target.size(), "[parametrization] the model has {} parameters, its base {}", target.size(),
          base.size());
  require(growth.width > 0 && growth.head_dim > 0,
          "[parametrization] growth in width is {}, in head_dim {}, expected both > 0", growth.width, growth.head_dim);
  scaling_.reserve(target.size());
  for (std::size_t i = 0; i < target.size(); ++i) {
    scaling_.push_back(scaling_of(config, optimizer, target[i].role, growth_of(base[i], target[i]), growth));
  }
  if (config.kind() != ParametrizationConfig::SP) logit_multiplier_ = 1 / growth.width;
}

}  // namespace mudelta
