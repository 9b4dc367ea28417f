#include "launch/transfer/scale_up/scale_up.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"

namespace mudelta {
namespace {

std::string title_of(const SweepSeries& series) {
  return fmt::format("{} {}", ParametrizationConfig::Kind_Name(series.parametrization), name_of(series.optimizer));
}

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
  require(fitting.size() == 1, "the sweep has {}: choose with --parametrization and --optimizer", titles(fitting));
  return *fitting.front();
}

RunConfig scale_up(const SweepConfig& sweep, const SweepReport& report, const SweepSeries& series,
                   const std::vector<std::string>& overrides) {
  RunConfig given;
  apply_overrides(overrides, given);
  require(given.model().has_width(), "no width is given: expected --set model.width=...");
  const RunConfig base = config_of(sweep, {.parametrization = series.parametrization,
                                           .optimizer = series.optimizer,
                                           .width = sweep.base_width(),
                                           .lr = lr_of(tuned(report, series)),
                                           .seed = sweep.seeds(0)});
  RunConfig wide = widened(base, given.model(), axis_of(sweep));
  apply_overrides(overrides, wide);
  carry_schedule(sweep.run(), given.schedule(), wide);
  validate(wide, 1);
  return with_defaults(wide);
}

std::vector<std::string> provenance(const SweepConfig& sweep, const SweepReport& report, const SweepSeries& series,
                                    const RunConfig& wide) {
  const WidthReport& base = tuned(report, series);
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
  const TrainConfig &tuned_with = sweep.run().train(), &train = wide.train();
  const ScheduleConfig &sweep_schedule = sweep.run().schedule(), &schedule = wide.schedule();
  if (schedule.warmup_steps() != sweep_schedule.warmup_steps()) {
    lines.push_back(share_note("warm-up", schedule.warmup_steps(), sweep_schedule.warmup_steps(), sweep.run()));
  }
  if (schedule.kind() == ScheduleConfig::WSD && schedule.decay_steps() != sweep_schedule.decay_steps()) {
    lines.push_back(share_note("decay", schedule.decay_steps(), sweep_schedule.decay_steps(), sweep.run()));
  }
  if (train.steps() != tuned_with.steps() || train.global_batch() != tuned_with.global_batch() ||
      train.sequence_length() != tuned_with.sequence_length() ||
      wide.model().layers() != sweep.run().model().layers()) {
    lines.push_back(
        "the sweep had another horizon, batch or depth: these rules carry a learning rate over widths only");
  }
  return lines;
}

}  // namespace mudelta
