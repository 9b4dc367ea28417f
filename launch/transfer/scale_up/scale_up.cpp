#include "launch/transfer/scale_up/scale_up.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"

namespace mudelta {
namespace {

const WidthReport* find_width(const SweepSeries& series, std::int64_t width) {
  const auto found = std::ranges::find(series.widths, width, &WidthReport::width);
  return found == series.widths.end() ? nullptr : &*found;
}

const WidthReport& tuned(const SweepReport& report, const SweepSeries& series) {
  const WidthReport* base = find_width(series, report.base_width);
  require(base != nullptr, "the sweep has no runs of {} at the base width, {}", title_of(series), report.base_width);
  require(base->log2_lr.has_value(), "every run of {} at the base width, {}, diverged", title_of(series),
          report.base_width);
  return *base;
}

// Four digits: what a user can type again.
double rounded(double lr) { return std::stod(fmt::format("{:.3e}", lr)); }

double lr_of(const WidthReport& base) { return rounded(std::exp2(base.log2_lr->value)); }

// Of a run of `steps` steps, as many as `part` of one of `sweep_steps`.
std::int64_t same_share(std::int64_t part, std::int64_t sweep_steps, std::int64_t steps) {
  const double share = static_cast<double>(part) / static_cast<double>(sweep_steps);
  return part > 0 ? std::max<std::int64_t>(std::llround(share * static_cast<double>(steps)), 1) : 0;
}

// Warm-up and decay, unless `given`, take the share of the run's steps that they took of the sweep's.
void carry_schedule(const RunConfig& sweep_run, const ScheduleConfig& given, RunConfig& wide) {
  const ScheduleConfig& tuned_with = sweep_run.schedule();
  const std::int64_t sweep_steps = sweep_run.train().steps(), steps = wide.train().steps();
  ScheduleConfig& schedule = *wide.mutable_schedule();
  if (!given.has_warmup_steps()) {
    schedule.set_warmup_steps(same_share(tuned_with.warmup_steps(), sweep_steps, steps));
  }
  if (!given.has_decay_steps()) {
    schedule.set_decay_steps(same_share(tuned_with.decay_steps(), sweep_steps, steps));
  }
}

// "warm-up 667 steps; the sweep's was 8 of 240".
std::string share_note(std::string_view name, std::int64_t steps, std::int64_t sweep_part, const RunConfig& sweep_run) {
  return fmt::format("{} {} steps; the sweep's was {} of {}", name, steps, sweep_part, sweep_run.train().steps());
}

void append(std::vector<std::string>& lines, const std::vector<std::string>& more) {
  lines.insert(lines.end(), more.begin(), more.end());
}

std::vector<std::string> notes_on_lr(const WidthReport& base, const SweepSeries& series) {
  std::vector<std::string> lines = {fmt::format("learning rate {:g}: the best of {} at width {}, {} runs", lr_of(base),
                                                title_of(series), base.width, base.runs)};
  if (base.curve.best()->bracket != Bracket::kInside) {
    lines.push_back("warning: it lies at the edge of the sweep's grid; the best one may lie beyond");
  }
  const WidthReport& widest = series.widths.back();
  if (widest.width != base.width && widest.regret) {
    lines.push_back(std::isfinite(widest.regret->value)
                        ? fmt::format("in the sweep it cost {:.4f} nats more than the best at width {}",
                                      widest.regret->value, widest.width)
                        : fmt::format("warning: in the sweep, width {} diverged with it", widest.width));
  }
  if (series.parametrization == ParametrizationConfig::SP) {
    lines.push_back("warning: under SP the best learning rate moves with the width");
  }
  return lines;
}

std::vector<std::string> notes_on_schedule(const RunConfig& sweep_run, const RunConfig& wide) {
  std::vector<std::string> lines;
  const ScheduleConfig &before = sweep_run.schedule(), &schedule = wide.schedule();
  if (schedule.warmup_steps() != before.warmup_steps()) {
    lines.push_back(share_note("warm-up", schedule.warmup_steps(), before.warmup_steps(), sweep_run));
  }
  if (schedule.kind() == ScheduleConfig::WSD && schedule.decay_steps() != before.decay_steps()) {
    lines.push_back(share_note("decay", schedule.decay_steps(), before.decay_steps(), sweep_run));
  }
  return lines;
}

double tokens_per_step(const TrainConfig& train) {
  return static_cast<double>(train.global_batch()) * static_cast<double>(train.sequence_length());
}

// Follows `rule` from the sweep's batch and horizon to those of `wide`, but for what is `given`, and tells.
std::vector<std::string> carry_horizon(HorizonRule rule, const RunConfig& base, const RunConfig& given,
                                       RunConfig& wide) {
  const double batch = tokens_per_step(wide.train()) / tokens_per_step(base.train());
  const double steps = static_cast<double>(wide.train().steps()) / static_cast<double>(base.train().steps());
  if (batch == 1 && steps == 1) return {};
  const std::string change = fmt::format("tokens a step x {:.4g}, tokens of the run x {:.4g}", batch, batch * steps);
  if (rule == HorizonRule::kNone) {
    return {"warning: " + change +
            ": another batch or horizon than the sweep's, which nothing here carries the settings to (--horizon)"};
  }
  const double k = rule == HorizonRule::kSqrt ? batch : 1 / steps;
  std::vector<std::string> lines = {fmt::format("horizon {}: {}; k = {:.4g}", name_of(rule), change, k)};
  for (const SettingChange& c : follow_noise(*wide.mutable_optimizer(), k, given.optimizer())) {
    lines.push_back(fmt::format("  {:<30} {:>12.6g} -> {:<12.6g} {}", c.field, c.before, c.after, c.rule));
  }
  if (rule == HorizonRule::kSqrt && batch * steps != 1) {
    lines.push_back("warning: SQRT carries to another batch; the tokens of the run are others than the sweep's, too");
  }
  return lines;
}

std::vector<std::string> notes_on_depth(const RunConfig& base, const RunConfig& wide) {
  if (wide.model().layers() == base.model().layers()) return {};
  const std::string change =
      fmt::format("{} layers, the sweep's runs had {}", wide.model().layers(), base.model().layers());
  const bool is_carried =
      wide.parametrization().has_depth_exponent() && wide.parametrization().kind() != ParametrizationConfig::SP;
  if (!is_carried)
    return {"warning: " + change + ": nothing carries the settings over depth (parametrization.depth_exponent)"};
  return {fmt::format("{}: carried with depth exponent {:g} from {} layers", change,
                      wide.parametrization().depth_exponent(), wide.parametrization().base_layers())};
}

// "GDN_MUP ADAMW, SP ADAMW".
std::string titles(const std::vector<const SweepSeries*>& series) {
  std::vector<std::string> names;
  for (const SweepSeries* entry : series) names.push_back(title_of(*entry));
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

const SweepSeries& choose_series(const SweepReport& report, const SeriesChoice& choice) {
  std::vector<const SweepSeries*> all, fitting;
  for (const SweepSeries& series : report.series) {
    all.push_back(&series);
    if (choice.optimizer && *choice.optimizer != series.optimizer) continue;
    if (choice.parametrization && *choice.parametrization != series.parametrization) continue;
    fitting.push_back(&series);
  }
  require(
      !fitting.empty(), "the sweep has no runs of {} {}; it has {}",
      choice.parametrization ? ParametrizationConfig::Kind_Name(*choice.parametrization) : "any parametrization with",
      choice.optimizer ? name_of(*choice.optimizer) : "any optimizer", titles(all));
  if (!choice.parametrization) {
    const auto is_default = [](const SweepSeries* series) {
      return series->parametrization == ParametrizationConfig::GDN_MUP;
    };
    if (std::ranges::any_of(fitting, is_default)) std::erase_if(fitting, std::not_fn(is_default));
  }
  std::ranges::stable_sort(fitting, {}, [&](const SweepSeries* series) {
    const WidthReport* base = find_width(*series, report.base_width);
    return base != nullptr && base->loss ? base->loss->value : std::numeric_limits<double>::infinity();
  });
  const auto is_another = [&](const SweepSeries* series) {
    return series->optimizer != fitting[0]->optimizer || series->parametrization != fitting[0]->parametrization;
  };
  require(std::ranges::none_of(fitting, is_another), "the sweep has {}: choose with --parametrization and --optimizer",
          titles(fitting));
  return *fitting.front();
}

std::string_view name_of(HorizonRule rule) {
  switch (rule) {
    case HorizonRule::kNone: return "NONE";
    case HorizonRule::kSqrt: return "SQRT";
    case HorizonRule::kTimescale: return "TIMESCALE";
  }
  fail("[scale-up] unknown rule {}", static_cast<int>(rule));
}

ScaledRun scale_up(const SweepConfig& sweep, const SweepReport& report, const SweepSeries& series,
                   const std::vector<std::string>& overrides, HorizonRule horizon) {
  RunConfig given;
  apply_overrides(overrides, given);
  require(given.model().has_width() || given.model().has_layers(),
          "no width is given: expected --set model.width=... or model.layers=...");
  const WidthReport& tuned_at = tuned(report, series);
  const RunConfig base = config_of(sweep, {.parametrization = series.parametrization,
                                           .optimizer = series.optimizer,
                                           .width = sweep.base_width(),
                                           .lr = lr_of(tuned_at),
                                           .seed = sweep.seeds(0),
                                           .varied = series.varied});
  ModelConfig sizes = given.model();
  if (!sizes.has_width()) sizes.set_width(base.model().width());
  ScaledRun scaled{.config = widened(base, sizes, axis_of(sweep)), .notes = notes_on_lr(tuned_at, series)};
  apply_overrides(overrides, scaled.config);
  carry_schedule(base, given.schedule(), scaled.config);
  append(scaled.notes, notes_on_schedule(base, scaled.config));
  append(scaled.notes, carry_horizon(horizon, base, given, scaled.config));
  append(scaled.notes, notes_on_depth(base, scaled.config));
  validate(scaled.config, 1);
  scaled.config = with_defaults(scaled.config);
  return scaled;
}

}  // namespace mudelta
