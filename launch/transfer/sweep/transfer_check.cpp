#include "launch/transfer/sweep/transfer_check.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr double kErrors = 2;
constexpr double kCoarsest = 1;  // of kErrors standard errors of the drift

const WidthReport* find_width(const SweepSeries& series, std::int64_t width) {
  const auto found = std::ranges::find(series.widths, width, &WidthReport::width);
  return found == series.widths.end() ? nullptr : &*found;
}

void check_drift(const WidthReport& widest, std::vector<std::string>& failures) {
  if (!widest.drift->error) return failures.push_back("the drift has no error: expected two seeds or more");
  const double reach = kErrors * *widest.drift->error;
  if (!(reach < kCoarsest)) {
    failures.push_back(
        fmt::format("the error of the drift is too large to see a factor of 2: two of them are {:.2f}, "
                    "expected less than {:g}; more seeds or a finer grid lower it",
                    reach, kCoarsest));
  }
  if (!(std::abs(widest.drift->value) <= reach)) {
    failures.push_back(fmt::format("the drift is {:+.2f} in log2, more than two standard errors, {:.2f}, from 0",
                                   widest.drift->value, reach));
  }
}

void check_regret(const WidthReport& widest, double max_regret, std::vector<std::string>& failures) {
  if (!widest.regret) {
    failures.push_back("there is no regret: the base width's best learning rate lies outside of those tried");
  } else if (!std::isfinite(widest.regret->value)) {
    failures.push_back("the base width's best learning rate diverges, or one beside it does");
  } else if (widest.regret->value > max_regret) {
    failures.push_back(
        fmt::format("the regret is {:.4f} nats, expected at most {:g}", widest.regret->value, max_regret));
  }
}

void check_bracket(const WidthReport& report, std::vector<std::string>& failures) {
  if (report.curve.best()->bracket == Bracket::kInside) return;
  failures.push_back(
      fmt::format("the best learning rate of width {} is at an end of those tried: widen the grid", report.width));
}

bool is_judged(const TransferCheckRequest& request, const SweepReport& report, const SweepSeries& series) {
  if (request.optimizer && *request.optimizer != series.optimizer) return false;
  if (request.parametrization) return *request.parametrization == series.parametrization;
  const auto is_rival = [&](const SweepSeries& other) {
    return other.optimizer == series.optimizer && other.parametrization != series.parametrization;
  };
  return series.parametrization == ParametrizationConfig::GDN_MUP || std::ranges::none_of(report.series, is_rival);
}

std::int64_t unfinished_runs(const std::vector<SweepRun>& planned, const std::vector<SweepResult>& results,
                             const SweepSeries& series) {
  return std::ranges::count_if(planned, [&](const SweepRun& run) {
    return run.optimizer == series.optimizer && run.parametrization == series.parametrization &&
           run.varied == series.varied && std::ranges::find(results, run, &SweepResult::run) == results.end();
  });
}

std::string with_error(const std::optional<Estimate>& estimate, int digits) {
  if (!estimate) return "unknown";
  return fmt::format("{:+.{}f}", estimate->value, digits) +
         (estimate->error ? fmt::format(" ± {:.{}f}", *estimate->error, digits) : "");
}

std::string describe(const SweepSeries& series, const TransferVerdict& verdict, bool judged) {
  std::string text =
      fmt::format("{}, width {} to {}: drift {} in log2, regret {} nats: {}{}\n", title_of(series), verdict.base_width,
                  verdict.width, with_error(verdict.drift, 2), with_error(verdict.regret, 4),
                  verdict.failures.empty() ? "ACCEPTED" : "REJECTED", judged ? "" : " (does not count)");
  for (const std::string& failure : verdict.failures) text += "  " + failure + "\n";
  return text;
}

}  // namespace

TransferVerdict judge_transfer(const SweepReport& report, const SweepSeries& series, double max_regret) {
  const WidthReport& widest = series.widths.back();
  const WidthReport* base = find_width(series, report.base_width);
  TransferVerdict verdict{.base_width = report.base_width,
                          .width = widest.width,
                          .drift = widest.drift,
                          .regret = widest.regret,
                          .failures = {}};
  if (widest.width <= report.base_width) {
    verdict.failures.push_back("no width above the base was trained");
  } else if (base == nullptr || !base->log2_lr || !widest.log2_lr) {
    verdict.failures.push_back(fmt::format("every run of width {} diverged, or there is none",
                                           base != nullptr && base->log2_lr ? widest.width : report.base_width));
  } else {
    check_bracket(*base, verdict.failures);
    check_bracket(widest, verdict.failures);
    check_drift(widest, verdict.failures);
    check_regret(widest, max_regret, verdict.failures);
  }
  return verdict;
}

TransferCheck check_transfer(const TransferCheckRequest& request) {
  const SweepDirectory folder(request.folder);
  const SweepConfig sweep = folder.read_config();
  const std::vector<SweepResult> results = folder.read();
  const std::vector<SweepRun> planned = runs_of(sweep);
  const SweepReport report = analyse(sweep.base_width(), results);
  TransferCheck check;
  bool any = false;
  for (const SweepSeries& series : report.series) {
    TransferVerdict verdict = judge_transfer(report, series, request.max_regret);
    if (const std::int64_t missing = unfinished_runs(planned, results, series); missing > 0) {
      verdict.failures.push_back(fmt::format("{} of its runs are not finished", missing));
    }
    const bool judged = is_judged(request, report, series);
    any = any || judged;
    check.accepted = check.accepted && (!judged || verdict.failures.empty());
    check.text += describe(series, verdict, judged);
  }
  require(any, "{} has no finished runs of the parametrization and optimizer that are to be judged", request.folder);
  return check;
}

}  // namespace mudelta
