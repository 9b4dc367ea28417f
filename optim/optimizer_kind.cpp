#include "optim/optimizer_kind.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/require_range.h"

namespace mudelta {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// A setting, the check that its value must pass, and the power of k as which it goes (follow_noise): itself, or what it
// is below 1.
struct Setting {
  std::string_view name;
  void (*check)(std::string_view field, double value);
  double power = 0;
  bool below_one = false;
};

struct Row {
  OptimizerKind kind;
  int field;  // its message in OptimizerConfig, which has `lr` and `weight_decay`
  std::string_view name, title;
  std::vector<std::string_view> state;
  std::vector<Setting> settings;  // in the order of their checks
};

const std::vector<Row>& table() {
  static const std::vector<Row> rows = {
      {.kind = OptimizerKind::kAdamW,
       .field = OptimizerConfig::kAdamwFieldNumber,
       .name = "ADAMW",
       .title = "AdamW",
       .state = {"exp_avg", "exp_avg_sq"},
       .settings = {{"lr", require_positive, 0.5},
                    {"beta1", require_decay_rate, 1, /*below_one=*/true},
                    {"beta2", require_decay_rate, 1, /*below_one=*/true},
                    {"eps", require_positive, -0.5},
                    {"weight_decay", require_not_negative, 0.5}}},
      {.kind = OptimizerKind::kSgd,
       .field = OptimizerConfig::kSgdFieldNumber,
       .name = "SGD",
       .title = "SGD",
       .state = {"momentum_buffer"},
       .settings = {{"lr", require_positive, 1},
                    {"momentum", require_decay_rate},
                    {"weight_decay", require_not_negative}}},
      {.kind = OptimizerKind::kMuon,
       .field = OptimizerConfig::kMuonFieldNumber,
       .name = "MUON",
       .title = "Muon",
       .state = {"momentum_buffer"},
       .settings = {{"lr", require_positive, 0.5},
                    {"momentum", require_decay_rate},
                    {"weight_decay", require_not_negative, 0.5}}},
  };
  return rows;
}

const Row& row_of(OptimizerKind kind) { return *std::ranges::find(table(), kind, &Row::kind); }

const FieldDescriptor& message_of(OptimizerKind kind) {
  return *OptimizerConfig::descriptor()->FindFieldByNumber(row_of(kind).field);
}

std::string path_of(OptimizerKind kind) { return fmt::format("optimizer.{}", message_of(kind).name()); }

// The message of the chosen kind; defaults if none is given.
const Message& settings_of(const OptimizerConfig& config) {
  return config.GetReflection()->GetMessage(config, &message_of(kind_of(config)));
}

// Null if the message has no such setting.
const FieldDescriptor* setting(const Message& message, std::string_view name) {
  return message.GetDescriptor()->FindFieldByName(std::string(name));
}

double value_of(const Message& message, std::string_view name) {
  return message.GetReflection()->GetDouble(message, setting(message, name));
}

// To twelve digits: 0.6, not 0.6000000000000001.
double followed(const Setting& setting, double value, double k) {
  const double factor = std::pow(k, setting.power);
  return std::stod(fmt::format("{:.12g}", setting.below_one ? 1 - (1 - value) * factor : value * factor));
}

std::string rule_of(const Setting& setting) {
  const std::string what = setting.below_one ? fmt::format("1 - {}", setting.name) : std::string(setting.name);
  const std::string power = setting.power == 0.5 ? "^1/2" : setting.power == -0.5 ? "^-1/2" : "";
  return fmt::format("{} as k{}", what, power);
}

// Of the settings of one message; `path` is its own.
void check_settings(const Row& row, const std::string& path, const Message& message) {
  for (const Setting& setting : row.settings) {
    setting.check(fmt::format("{}.{}", path, setting.name), value_of(message, setting.name));
  }
}

void follow_noise(const Row& row, const std::string& path, Message& message, double k, const Message& given,
                  std::vector<SettingChange>& changes) {
  for (const Setting& entry : row.settings) {
    const FieldDescriptor* field = setting(message, entry.name);
    if (entry.power == 0 || given.GetReflection()->HasField(given, field)) continue;
    const double before = value_of(message, entry.name), after = followed(entry, before, k);
    if (after == before) continue;
    const std::string name = fmt::format("{}.{}", path, entry.name);
    try {
      entry.check(name, after);
    } catch (const Error& error) {
      fail("{} (from {}, with {} and k = {:.6g}); give it", error.what(), before, rule_of(entry), k);
    }
    message.GetReflection()->SetDouble(&message, field, after);
    changes.push_back({name, before, after, rule_of(entry)});
  }
}

}  // namespace

std::span<const OptimizerKind> optimizer_kinds() {
  static const std::vector<OptimizerKind> kinds = [] {
    std::vector<OptimizerKind> all;
    for (const Row& row : table()) all.push_back(row.kind);
    return all;
  }();
  return kinds;
}

std::string_view name_of(OptimizerKind kind) { return row_of(kind).name; }
std::string_view title_of(OptimizerKind kind) { return row_of(kind).title; }
std::string_view field_of(OptimizerKind kind) { return message_of(kind).name(); }
std::span<const std::string_view> state_names(OptimizerKind update) { return row_of(update).state; }

OptimizerKind parse_optimizer_kind(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Row& row : table()) {
    if (row.name == name) return row.kind;
    names.push_back(row.name);
  }
  fail("the optimizer is {}, expected {}", name, fmt::join(names, " or "));
}

OptimizerKind update_kind(OptimizerKind kind, Role role) {
  return kind == OptimizerKind::kMuon && role != Role::kHidden ? OptimizerKind::kAdamW : kind;
}

const AdamWConfig& adamw_of(const OptimizerConfig& config) {
  return kind_of(config) == OptimizerKind::kMuon ? config.muon().adamw() : config.adamw();
}

OptimizerKind kind_of(const OptimizerConfig& config) {
  const auto row = std::ranges::find(table(), static_cast<int>(config.kind_case()), &Row::field);
  return row == table().end() ? OptimizerKind::kAdamW : row->kind;
}

void choose(OptimizerConfig& config, OptimizerKind kind) {
  config.GetReflection()->MutableMessage(&config, &message_of(kind));
}

double peak_lr(const OptimizerConfig& config) { return value_of(settings_of(config), "lr"); }

void set_peak_lr(OptimizerConfig& config, double lr) {
  Message& message = *config.GetReflection()->MutableMessage(&config, &message_of(kind_of(config)));
  message.GetReflection()->SetDouble(&message, setting(message, "lr"), lr);
}

double weight_decay(const OptimizerConfig& config) { return value_of(settings_of(config), "weight_decay"); }

double peak_lr(const OptimizerConfig& config, OptimizerKind update) {
  return update == kind_of(config) ? peak_lr(config) : adamw_of(config).lr();
}

double weight_decay(const OptimizerConfig& config, OptimizerKind update) {
  return update == kind_of(config) ? weight_decay(config) : adamw_of(config).weight_decay();
}

std::optional<double> eps(const OptimizerConfig& config) {
  if (kind_of(config) == OptimizerKind::kSgd) return std::nullopt;
  return adamw_of(config).eps();
}

std::vector<SettingChange> follow_noise(OptimizerConfig& config, double k, const OptimizerConfig& given) {
  const OptimizerKind kind = kind_of(config);
  std::vector<SettingChange> changes;
  follow_noise(row_of(kind), path_of(kind), *config.GetReflection()->MutableMessage(&config, &message_of(kind)), k,
               given.GetReflection()->GetMessage(given, &message_of(kind)), changes);
  if (kind == OptimizerKind::kMuon) {
    follow_noise(row_of(OptimizerKind::kAdamW), path_of(kind) + ".adamw", *config.mutable_muon()->mutable_adamw(), k,
                 given.muon().adamw(), changes);
  }
  return changes;
}

double update_scale(const MuonConfig& config, const ParameterSpec& matrix) {
  const auto in = static_cast<double>(matrix.fan_in), out = static_cast<double>(matrix.fan_out);
  switch (config.update_scale()) {
    case MuonConfig::SQRT_OUT_OVER_IN: return std::sqrt(out / in);
    case MuonConfig::SQRT_MAX_1_OUT_OVER_IN: return std::sqrt(std::max(1.0, out / in));
    case MuonConfig::POINT_2_SQRT_MAX: return 0.2 * std::sqrt(std::max(out, in));
  }
  fail("unknown update scale {}", static_cast<int>(config.update_scale()));
}

void validate(const OptimizerConfig& config) {
  const OptimizerKind kind = kind_of(config);
  check_settings(row_of(kind), path_of(kind), settings_of(config));
  const double decay_exponent = config.lr_decay_width();
  require(decay_exponent == 0 || decay_exponent == -0.5 || decay_exponent == -1,
          "optimizer.lr_decay_width is {}, expected 0, -0.5 or -1", decay_exponent);
  if (kind != OptimizerKind::kMuon) return;
  check_settings(row_of(OptimizerKind::kAdamW), path_of(kind) + ".adamw", config.muon().adamw());
  require(config.muon().iterations() >= 1, "optimizer.muon.iterations is {}, expected at least 1",
          config.muon().iterations());
}

}  // namespace mudelta
