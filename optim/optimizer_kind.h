#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameter.h"
#include "optim/config.pb.h"

namespace mudelta {

// The members of OptimizerConfig's `kind`. What others than optim must know of a kind is below, from one table with a
// row for each (optimizer_kind.cpp); Optimizer has its update, Parametrization its rules.
enum class OptimizerKind { kAdamW, kSgd, kMuon };

std::span<const OptimizerKind> optimizer_kinds();
std::string_view name_of(OptimizerKind kind);   // "ADAMW": in files, and of ScalingOverride.Optimizer
std::string_view title_of(OptimizerKind kind);  // "AdamW": for people
std::string_view field_of(OptimizerKind kind);  // "adamw": in OptimizerConfig, options and names of files
// Throws Error unless `name` is a kind's name_of.
OptimizerKind parse_optimizer_kind(std::string_view name);
// By which of the kinds a run of `kind` updates a parameter: Muon is of hidden matrices, AdamW of all else beside it.
OptimizerKind update_kind(OptimizerKind kind, Role role);
// What an element that is updated so has beside its float32 master, as checkpoints name it: {"exp_avg", "exp_avg_sq"}.
std::span<const std::string_view> state_names(OptimizerKind update);

OptimizerKind kind_of(const OptimizerConfig& config);
// Settings are the defaults, unless `config` has that kind already.
void choose(OptimizerConfig& config, OptimizerKind kind);

// Of AdamW's updates: Muon's own, if that is chosen.
const AdamWConfig& adamw_of(const OptimizerConfig& config);

// Of the kind that is chosen.
double peak_lr(const OptimizerConfig& config);
void set_peak_lr(OptimizerConfig& config, double lr);
double weight_decay(const OptimizerConfig& config);
// Of an update under that kind; before multipliers, and with the schedule at its peak.
double peak_lr(const OptimizerConfig& config, OptimizerKind update);
double weight_decay(const OptimizerConfig& config, OptimizerKind update);
// Of AdamW's updates, before multipliers; nothing if there are none.
std::optional<double> eps(const OptimizerConfig& config);

// A setting as follow_noise() changed it.
struct SettingChange {
  std::string field;  // "optimizer.adamw.beta1"
  double before, after;
  std::string rule;  // "1 - beta1 as k"
};
// Settings of the chosen kind for steps that each do the work of `k`: of k times the tokens, or of a run with 1/k as
// many. AdamW: lr and decay as k^1/2, 1 - beta as k, eps as k^-1/2 (Malladi et al., arXiv 2205.10287; over the horizon:
// arXiv 2512.22382), SGD: lr as k, Muon: lr and decay as k^1/2, with the AdamW beside it. With AdamW and Muon, decay
// then goes as k: it reaches, as AdamW's averages do, over as many tokens as before, or over the same share of the run.
// What `given` sets stays as it is. Throws Error where a setting would leave its range.
std::vector<SettingChange> follow_noise(OptimizerConfig& config, double k, const OptimizerConfig& given);

// Factor on the orthogonal matrix that Muon moves `matrix` by.
double update_scale(const MuonConfig& config, const ParameterSpec& matrix);

// Throws Error, naming the field, its value and what was expected, on settings that the chosen kind cannot have.
void validate(const OptimizerConfig& config);

}  // namespace mudelta
