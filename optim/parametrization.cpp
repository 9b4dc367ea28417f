#include "optim/parametrization.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

// Growth from a base parameter to the same parameter of the target, in whose powers rules are written.
struct ParameterGrowth {
  double fan_in = 1;  // the fans: of HIDDEN and GATE only
  double fan_out = 1;
  double numel = 1;
  double update_scale = 1;  // Muon's, of HIDDEN only
};

// Exponents of a multiplier.
struct Powers {
  double fan_in = 0, fan_out = 0, numel = 0, width = 0, head_dim = 0, update_scale = 0;
};

struct Rule {
  Role role;
  Powers init, adamw_lr, sgd_lr;
  std::optional<Powers> sgd_lr_mup;  // under MUP, where that differs
};

// The table of the header.
constexpr std::array kRules = {
    Rule{Role::kEmbedding, {}, {}, {.width = 1}, {}},
    Rule{Role::kReadout, {}, {}, {.width = 1}, {}},
    Rule{Role::kHidden, {.fan_in = -0.5}, {.fan_in = -1}, {.fan_in = -1, .fan_out = 1}, {}},
    Rule{Role::kGate, {.fan_in = -0.5}, {.fan_in = -1}, {.fan_in = -1, .fan_out = 1, .head_dim = 0.5}, Powers{}},
    Rule{Role::kGateScalar, {}, {}, {.numel = 1, .head_dim = 0.5}, Powers{.width = 1}},
    Rule{Role::kConv, {}, {}, {.numel = 1}, {}},
    Rule{Role::kNorm, {}, {}, {.numel = 1}, {}},
};

// Of the hidden matrices that Muon updates: its scale times this is (fan_out/fan_in)^1/2.
constexpr Powers kMuonLr{.fan_in = -0.5, .fan_out = 0.5, .update_scale = -1};

// Of the lr of a block's parameters, over depth. A gradient there is L^-a of what it is in the base model; what it
// changes may be L^(a-1), which L blocks multiply by L^-a.
double depth_power(OptimizerKind update, double a) {
  switch (update) {
    case OptimizerKind::kAdamW:
    case OptimizerKind::kMuon: return a - 1;
    case OptimizerKind::kSgd: return 2 * a - 1;
  }
  fail("[parametrization] unknown optimizer {}", static_cast<int>(update));
}

bool has_fans(Role role) { return role == Role::kHidden || role == Role::kGate; }

double ratio(std::int64_t target, std::int64_t base, std::string_view what, const ParameterSpec& spec) {
  require(target > 0 && base > 0, "[parametrization] {} of {} is {}, {} in the base, expected both > 0", what,
          spec.name, target, base);
  return static_cast<double>(target) / static_cast<double>(base);
}

ParameterGrowth growth_of(const ParameterSpec& base, const ParameterSpec& target, const OptimizerConfig& optimizer) {
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
  if (update_kind(kind_of(optimizer), target.role) == OptimizerKind::kMuon) {
    growth.update_scale = update_scale(optimizer.muon(), target) / update_scale(optimizer.muon(), base);
  }
  return growth;
}

const Rule& rule_of(Role role) {
  const auto* const found = std::ranges::find(kRules, role, &Rule::role);
  require(found != kRules.end(), "[parametrization] unknown role {}", static_cast<int>(role));
  return *found;
}

// Exactly x or its root for an exponent of 1 or 1/2.
double power(double x, double exponent) {
  if (exponent < 0) return 1 / power(x, -exponent);
  if (exponent == 1) return x;
  return exponent == 0.5 ? std::sqrt(x) : std::pow(x, exponent);
}

double product(const Powers& powers, const ParameterGrowth& parameter, const GrowthRatios& model) {
  double above = 1, below = 1;
  const auto multiply = [&](double x, double exponent) {
    (exponent > 0 ? above : below) *= power(x, std::abs(exponent));
  };
  multiply(parameter.fan_in, powers.fan_in);
  multiply(parameter.fan_out, powers.fan_out);
  multiply(parameter.numel, powers.numel);
  multiply(model.width, powers.width);
  multiply(model.head_dim, powers.head_dim);
  multiply(parameter.update_scale, powers.update_scale);
  return above / below;
}

const Powers& lr_powers(ParametrizationConfig::Kind kind, OptimizerKind update, const Rule& rule) {
  switch (update) {
    case OptimizerKind::kMuon: return kMuonLr;
    case OptimizerKind::kAdamW: return rule.adamw_lr;
    case OptimizerKind::kSgd:
      return kind == ParametrizationConfig::MUP && rule.sgd_lr_mup ? *rule.sgd_lr_mup : rule.sgd_lr;
  }
  fail("[parametrization] unknown optimizer {}", static_cast<int>(update));
}

bool follows_depth(const ParametrizationConfig& config) {
  return config.has_depth_exponent() && config.kind() != ParametrizationConfig::SP;
}

bool applies(const ScalingOverride& entry, Role role, OptimizerKind optimizer) {
  if (ScalingOverride::Role_Name(entry.role()) != name_of(role)) return false;
  return entry.optimizer() == ScalingOverride::ANY ||
         ScalingOverride::Optimizer_Name(entry.optimizer()) == name_of(optimizer);
}

double width_power(const GrowthRatios& model, double width_exponent, double head_dim_exponent) {
  return std::pow(model.width, width_exponent) * std::pow(model.head_dim, head_dim_exponent);
}

// What the multipliers of a parameter are made of.
struct Factors {
  double init = 1;
  double lr_width = 1, lr_depth = 1;
};

Factors factors_of(const ParametrizationConfig& config, OptimizerKind optimizer, const ParameterSpec& spec,
                   const ParameterGrowth& parameter, const GrowthRatios& model) {
  const OptimizerKind update = update_kind(optimizer, spec.role);
  Factors factors;
  if (config.kind() != ParametrizationConfig::SP) {
    const Rule& rule = rule_of(spec.role);
    factors.init = product(rule.init, parameter, model);
    factors.lr_width = product(lr_powers(config.kind(), update, rule), parameter, model);
  }
  if (follows_depth(config) && spec.in_block) {
    factors.lr_depth = power(model.depth, depth_power(update, config.depth_exponent()));
  }
  for (const ScalingOverride& entry : config.scaling()) {
    if (!applies(entry, spec.role, optimizer)) continue;
    if (entry.has_lr_width() || entry.has_lr_head_dim()) {
      factors.lr_width = width_power(model, entry.lr_width(), entry.lr_head_dim());
    }
    if (entry.has_init_width() || entry.has_init_head_dim()) {
      factors.init = width_power(model, entry.init_width(), entry.init_head_dim());
    }
    if (entry.has_lr_depth()) factors.lr_depth = power(model.depth, entry.lr_depth());
  }
  return factors;
}

bool decays(Role role) { return role == Role::kHidden || role == Role::kGate || role == Role::kReadout; }

// Nothing: the parameter's own lr multiplier over widths.
std::optional<double> lr_decay_exponent(const OptimizerConfig& optimizer) {
  if (optimizer.has_lr_decay_width()) return optimizer.lr_decay_width();
  if (optimizer.weight_decay_rule() == OptimizerConfig::INDEPENDENT) return 0;
  return std::nullopt;
}

double decay_of(const ParametrizationConfig& config, const OptimizerConfig& optimizer, Role role,
                const ParameterGrowth& parameter, const Factors& factors) {
  if (!decays(role)) return 0;
  const std::optional<double> exponent = lr_decay_exponent(optimizer);
  if (!exponent) return factors.lr_width;
  const bool follows_width = has_fans(role) && config.kind() != ParametrizationConfig::SP;
  return follows_width ? power(parameter.fan_in, *exponent) : 1;
}

ParameterScaling scaling_of(const ParametrizationConfig& config, const OptimizerConfig& optimizer,
                            const ParameterSpec& spec, const ParameterGrowth& parameter, const GrowthRatios& model) {
  const OptimizerKind kind = kind_of(optimizer);
  const Factors factors = factors_of(config, kind, spec, parameter, model);
  ParameterScaling scaling{.init = factors.init, .lr = factors.lr_width * factors.lr_depth};
  if (optimizer.eps_rule() == OptimizerConfig::WIDTH_SCALED) scaling.eps = 1 / model.width;
  if (follows_depth(config) && spec.in_block) scaling.eps *= power(model.depth, -config.depth_exponent());
  scaling.decay = decay_of(config, optimizer, spec.role, parameter, factors);
  if (kind == OptimizerKind::kSgd && optimizer.clip_rule() == OptimizerConfig::WEIGHTED_NORM) scaling.clip = scaling.lr;
  return scaling;
}

}  // namespace

Parametrization::Parametrization(const ParametrizationConfig& config, const OptimizerConfig& optimizer,
                                 std::span<const ParameterSpec> base, std::span<const ParameterSpec> target,
                                 GrowthRatios growth) {
  require(base.size() == target.size(), "[parametrization] the model has {} parameters, its base {}", target.size(),
          base.size());
  require(growth.width > 0 && growth.head_dim > 0 && growth.depth > 0,
          "[parametrization] growth in width is {}, in head_dim {}, in depth {}, expected all > 0", growth.width,
          growth.head_dim, growth.depth);
  scaling_.reserve(target.size());
  for (std::size_t i = 0; i < target.size(); ++i) {
    scaling_.push_back(scaling_of(config, optimizer, target[i], growth_of(base[i], target[i], optimizer), growth));
  }
  if (config.kind() != ParametrizationConfig::SP) forward_multipliers_.logits = 1 / growth.width;
  if (follows_depth(config)) forward_multipliers_.residual = power(growth.depth, -config.depth_exponent());
}

}  // namespace mudelta
