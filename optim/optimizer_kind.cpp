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
  };
  return rows;
}

const Row& row_of(OptimizerKind kind) { return *std::ranges::find(table(), kind, &Row::kind); }

const FieldDescriptor& message_of(OptimizerKind kind) {
  return *OptimizerConfig::descriptor()->FindFieldByNumber(row_of(kind).field);
}

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

std::string path_of(OptimizerKind kind, const Setting& setting) {
  return fmt::format("optimizer.{}.{}", message_of(kind).name(), setting.name);
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
std::span<const std::string_view> state_names(OptimizerKind kind) { return row_of(kind).state; }

OptimizerKind parse_optimizer_kind(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Row& row : table()) {
    if (row.name == name) return row.kind;
    names.push_back(row.name);
  }
  fail("the optimizer is {}, expected {}", name, fmt::join(names, " or "));
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

std::optional<double> eps(const OptimizerConfig& config) {
  const Message& message = settings_of(config);
  if (setting(message, "eps") == nullptr) return std::nullopt;
  return value_of(message, "eps");
}

std::vector<SettingChange> follow_noise(OptimizerConfig& config, double k, const OptimizerConfig& given) {
  const OptimizerKind kind = kind_of(config);
  Message& message = *config.GetReflection()->MutableMessage(&config, &message_of(kind));
  const Message& fixed = given.GetReflection()->GetMessage(given, &message_of(kind));
  std::vector<SettingChange> changes;
  for (const Setting& entry : row_of(kind).settings) {
    const FieldDescriptor* field = setting(message, entry.name);
    if (entry.power == 0 || fixed.GetReflection()->HasField(fixed, field)) continue;
    const double before = value_of(message, entry.name), after = followed(entry, before, k);
    if (after == before) continue;
    try {
      entry.check(path_of(kind, entry), after);
    } catch (const Error& error) {
      fail("{} (from {}, with {} and k = {:.6g}); give it", error.what(), before, rule_of(entry), k);
    }
    message.GetReflection()->SetDouble(&message, field, after);
    changes.push_back({path_of(kind, entry), before, after, rule_of(entry)});
  }
  return changes;
}

void validate(const OptimizerConfig& config) {
  const OptimizerKind kind = kind_of(config);
  const Message& message = settings_of(config);
  for (const Setting& setting : row_of(kind).settings) {
    setting.check(path_of(kind, setting), value_of(message, setting.name));
  }
  const double decay_exponent = config.lr_decay_width();
  require(decay_exponent == 0 || decay_exponent == -0.5 || decay_exponent == -1,
          "optimizer.lr_decay_width is {}, expected 0, -0.5 or -1", decay_exponent);
}

}  // namespace mudelta
