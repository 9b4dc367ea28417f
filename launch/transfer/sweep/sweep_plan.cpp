#include "launch/transfer/sweep/sweep_plan.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/config/config_text.h"
#include "launch/config/presets.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"
#include "launch/train/training_job.h"
#include "model/config.h"
#include "model/flops.h"
#include "model/parameter_parts.h"

namespace mudelta {
namespace {

constexpr int kMaxPoints = 1000;   // of a grid of learning rates
constexpr int kMaxRuns = 100'000;  // of a sweep

template <class List>
void sort_and_check(const char* field, List& values) {
  std::ranges::sort(values);
  const auto twice = std::ranges::adjacent_find(values);
  if (twice != values.end()) fail("{} has {} twice", field, *twice);
}

// Four digits: what a user can type again.
double rounded(double lr) { return std::stod(fmt::format("{:.3e}", lr)); }

LearningRates complete_learning_rates(const std::string& field, LearningRates rates) {
  const bool is_grid = rates.has_lowest() || rates.has_highest() || rates.has_points();
  require(is_grid != (rates.values_size() > 0), "{}: expected either `values`, or `lowest`, `highest` and `points`",
          field);
  if (is_grid) {
    require(rates.has_lowest() && rates.has_highest() && rates.has_points(),
            "{}: expected all of `lowest`, `highest` and `points`", field);
    require(rates.points() >= 2 && rates.points() <= kMaxPoints, "{}.points is {}: expected 2 to {}", field,
            rates.points(), kMaxPoints);
    require(rates.lowest() > 0 && rates.lowest() < rates.highest() && std::isfinite(rates.highest()),
            "{}: lowest is {}, highest {}: expected 0 < lowest < highest", field, rates.lowest(), rates.highest());
    for (int i = 0; i < rates.points(); ++i) {
      const double fraction = static_cast<double>(i) / (rates.points() - 1);
      rates.add_values(rounded(rates.lowest() * std::pow(rates.highest() / rates.lowest(), fraction)));
    }
    rates.clear_lowest(), rates.clear_highest(), rates.clear_points();
  }
  for (const double lr : rates.values()) {
    require(lr > 0 && std::isfinite(lr), "{} has {}: expected numbers above 0", field, lr);
  }
  sort_and_check(field.c_str(), *rates.mutable_values());
  return rates;
}

void complete_optimizers(SweepConfig& sweep) {
  if (sweep.optimizers().empty()) *sweep.add_optimizers()->mutable_optimizer() = sweep.run().optimizer();
  std::set<OptimizerKind> kinds;
  for (SweepOptimizer& entry : *sweep.mutable_optimizers()) {
    OptimizerConfig& optimizer = *entry.mutable_optimizer();
    const OptimizerKind kind = kind_of(optimizer);
    choose(optimizer, kind);
    require(kinds.insert(kind).second, "optimizers: {} stands there twice; compare two settings of it in two sweeps",
            name_of(kind));
    const bool own = entry.has_learning_rates();
    require(own || sweep.has_learning_rates(), "no learning rates are given for {}: expected learning_rates {{ ... }}",
            name_of(kind));
    *entry.mutable_learning_rates() = complete_learning_rates(own ? "optimizers.learning_rates" : "learning_rates",
                                                              own ? entry.learning_rates() : sweep.learning_rates());
    set_peak_lr(optimizer, entry.learning_rates().values(0));
  }
  sweep.clear_learning_rates();
}

std::string assignment(const std::string& field, double value) { return fmt::format("{}={}", field, value); }

// Of a run's configuration. What is no field at all is left to others to say.
bool is_number(const std::string& path) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Descriptor* message = RunConfig::descriptor();
  const FieldDescriptor* field = nullptr;
  std::istringstream names(path);
  for (std::string name; std::getline(names, name, '.'); message = field->message_type()) {
    field = message == nullptr ? nullptr : message->FindFieldByName(name);
    if (field == nullptr) return true;
  }
  const std::set<FieldDescriptor::CppType> numbers = {FieldDescriptor::CPPTYPE_INT32, FieldDescriptor::CPPTYPE_INT64,
                                                      FieldDescriptor::CPPTYPE_UINT32, FieldDescriptor::CPPTYPE_UINT64,
                                                      FieldDescriptor::CPPTYPE_DOUBLE};
  return field == nullptr || (!field->is_repeated() && numbers.contains(field->cpp_type()));
}

void complete_varied_fields(SweepConfig& sweep) {
  std::set<std::string> fields;
  for (VariedField& vary : *sweep.mutable_vary()) {
    const std::string& field = vary.field();
    require(fields.insert(field).second, "vary: {} stands there twice", field);
    require(vary.values_size() > 0, "vary: {} has no values", field);
    sort_and_check(fmt::format("vary: {}", field).c_str(), *vary.mutable_values());
    const std::set<std::string> of_lists = {"model.width", "train.seed", "parametrization.kind"};
    require(!of_lists.contains(field) && !field.ends_with(".lr"), "vary: {} has a list of its own in a sweep", field);
    require(field != "model.mlp_ratio", "vary: {} is what model.mlp_size follows from, which a sweep gives: vary that",
            field);
    for (const SweepOptimizer& entry : sweep.optimizers()) {
      for (const OptimizerKind kind : optimizer_kinds()) {
        const bool is_of_kind = field.starts_with(fmt::format("optimizer.{}.", field_of(kind)));
        require(!is_of_kind || kind == kind_of(entry.optimizer()), "vary: {} is no setting of {}, which the sweep has",
                field, name_of(kind_of(entry.optimizer())));
      }
    }
    require(is_number(field), "vary: {} is no number", field);
    RunConfig tried;
    for (const double value : vary.values()) apply_overrides({assignment(field, value)}, tried);
  }
}

void complete_lists(SweepConfig& sweep) {
  require(sweep.widths_size() > 0, "widths: no width is given");
  for (const std::int64_t width : sweep.widths()) require(width >= 1, "widths has {}: expected at least 1", width);
  sort_and_check("widths", *sweep.mutable_widths());
  if (!sweep.has_base_width()) sweep.set_base_width(sweep.widths(0));
  require(std::ranges::count(sweep.widths(), sweep.base_width()) == 1, "base_width is {}: expected one of widths, {}",
          sweep.base_width(), fmt::join(sweep.widths(), ", "));
  if (sweep.parametrizations().empty()) sweep.add_parametrizations(sweep.run().parametrization().kind());
  sort_and_check("parametrizations", *sweep.mutable_parametrizations());
  if (sweep.seeds().empty()) sweep.add_seeds(sweep.run().train().seed());
  sort_and_check("seeds", *sweep.mutable_seeds());
  complete_optimizers(sweep);
  complete_varied_fields(sweep);
}

// Every combination of the values of `vary`, one of which is that of nothing.
std::vector<std::vector<std::string>> varied_settings(const SweepConfig& sweep) {
  std::vector<std::vector<std::string>> all = {{}};
  for (const VariedField& vary : sweep.vary()) {
    std::vector<std::vector<std::string>> longer;
    for (const std::vector<std::string>& setting : all) {
      for (const double value : vary.values()) {
        longer.push_back(setting);
        longer.back().push_back(assignment(vary.field(), value));
      }
    }
    all = std::move(longer);
  }
  return all;
}

void require_few_runs(const SweepConfig& sweep) {
  double learning_rates = 0;
  for (const SweepOptimizer& entry : sweep.optimizers()) learning_rates += entry.learning_rates().values_size();
  double varied = 1;
  for (const VariedField& vary : sweep.vary()) varied *= vary.values_size();
  const double runs =
      learning_rates * sweep.widths_size() * sweep.parametrizations_size() * sweep.seeds_size() * varied;
  require(runs <= kMaxRuns,
          "{} runs, for {} widths, {} parametrizations, {} learning rates, {} seeds{}: expected at most {}", runs,
          sweep.widths_size(), sweep.parametrizations_size(), learning_rates, sweep.seeds_size(),
          varied > 1 ? fmt::format(" and {} settings of `vary`", varied) : "", kMaxRuns);
}

// What all runs share. `run` gives the sizes at the base width.
void complete_run(SweepConfig& sweep) {
  RunConfig& run = *sweep.mutable_run();
  const ParametrizationConfig& parametrization = run.parametrization();
  require(!run.model().has_width() || run.model().width() == sweep.base_width(),
          "run.model.width is {}: expected the base width, {}, or nothing", run.model().width(), sweep.base_width());
  require(!parametrization.has_base_width() || parametrization.base_width() == sweep.base_width(),
          "run.parametrization.base_width is {}: expected the sweep's base width, {}, or nothing",
          parametrization.base_width(), sweep.base_width());
  run.mutable_model()->set_width(sweep.base_width());
  *run.mutable_optimizer() = sweep.optimizers(0).optimizer();
  run = complete_run_config(run, sweep.ranks_per_run());
}

}  // namespace

ParametrizationConfig::Kind parse_parametrization(std::string_view name) {
  ParametrizationConfig::Kind kind = ParametrizationConfig::SP;
  require(ParametrizationConfig::Kind_Parse(std::string(name), &kind),
          "the parametrization is {}, expected SP, MUP or GDN_MUP", name);
  return kind;
}

std::string to_string(const std::vector<std::string>& varied) { return fmt::format("{}", fmt::join(varied, " ")); }

std::string SweepRun::to_string() const {
  return fmt::format("{} {} width {} lr {:g} seed {}{}{}", ParametrizationConfig::Kind_Name(parametrization),
                     name_of(optimizer), width, lr, seed, varied.empty() ? "" : " ", mudelta::to_string(varied));
}

SweepConfig load_sweep(const std::filesystem::path& name, const std::vector<std::string>& overrides) {
  const std::filesystem::path path = find_config(name);
  SweepConfig sweep;
  parse_text(read_file(path), path.string(), sweep);
  apply_overrides(overrides, sweep);
  if (sweep.has_run_config()) {
    RunConfig run = load_run_config(path.parent_path() / sweep.run_config(), {});
    run.MergeFrom(sweep.run());
    *sweep.mutable_run() = run;
    sweep.clear_run_config();
  }
  try {
    require(sweep.IsInitialized(), "not given: {}", sweep.InitializationErrorString());
    require(sweep.ranks_per_run() >= 1, "ranks_per_run is {}: expected at least 1", sweep.ranks_per_run());
    complete_lists(sweep);
    require_few_runs(sweep);
    complete_run(sweep);
    sweep.set_axis(sweep.axis());
    sweep.set_ranks_per_run(sweep.ranks_per_run());
    for (const SweepRun& run : runs_of(sweep)) {
      const RunConfig config = config_of(sweep, run);
      validate(config, sweep.ranks_per_run());
      require_parts(config.model(), config.parallel().tensor());
    }
  } catch (const Error& error) {
    fail("{}: {}", path.string(), error.what());
  }
  return sweep;
}

void require_same_runs(const SweepConfig& earlier, const SweepConfig& later, const std::filesystem::path& where) {
  using google::protobuf::util::MessageDifferencer;
  const auto check = [&](const google::protobuf::Message& a, const google::protobuf::Message& b, std::string_view of) {
    std::string differences;
    MessageDifferencer differencer;
    differencer.set_message_field_comparison(MessageDifferencer::EQUIVALENT);
    differencer.ReportDifferencesToString(&differences);
    if (differencer.Compare(a, b)) return;
    std::ranges::replace(differences, '\n', ';');
    fail("{} holds runs of another {} (there -> here): {}", where.string(), of, differences);
  };
  const auto common = [](SweepConfig sweep) {
    sweep.clear_widths(), sweep.clear_parametrizations(), sweep.clear_seeds(), sweep.clear_optimizers();
    sweep.clear_ranks_per_run(), sweep.clear_keep_checkpoints();
    for (VariedField& vary : *sweep.mutable_vary()) vary.clear_values();
    RunConfig& run = *sweep.mutable_run();
    run.clear_optimizer();
    run.mutable_parametrization()->clear_kind();
    TrainConfig& train = *run.mutable_train();
    train.clear_seed();
    // What changes a loss by rounding at most.
    train.clear_device(), train.clear_cuda_graph(), train.clear_micro_batch(), train.clear_log_every();
    run.clear_parallel(), run.clear_checkpoint();
    return sweep;
  };
  check(common(earlier), common(later), "sweep");
  for (const SweepOptimizer& a : earlier.optimizers()) {
    for (const SweepOptimizer& b : later.optimizers()) {
      if (kind_of(a.optimizer()) != kind_of(b.optimizer())) continue;
      OptimizerConfig there = a.optimizer(), here = b.optimizer();
      set_peak_lr(there, 1);
      set_peak_lr(here, 1);
      check(there, here, "optimizer");
    }
  }
}

std::vector<SweepRun> runs_of(const SweepConfig& sweep) {
  const std::vector<std::vector<std::string>> all_varied = varied_settings(sweep);
  std::vector<SweepRun> runs;
  for (const std::int64_t width : sweep.widths()) {
    for (const SweepOptimizer& optimizer : sweep.optimizers()) {
      for (const int parametrization : sweep.parametrizations()) {
        for (const double lr : optimizer.learning_rates().values()) {
          for (const std::uint64_t seed : sweep.seeds()) {
            for (const std::vector<std::string>& varied : all_varied) {
              runs.push_back({.parametrization = static_cast<ParametrizationConfig::Kind>(parametrization),
                              .optimizer = kind_of(optimizer.optimizer()),
                              .width = width,
                              .lr = lr,
                              .seed = seed,
                              .varied = varied});
            }
          }
        }
      }
    }
  }
  return runs;
}

RunConfig config_of(const SweepConfig& sweep, const SweepRun& run) {
  RunConfig config = widened(sweep.run(), run.width, axis_of(sweep));
  const auto optimizer = std::ranges::find_if(
      sweep.optimizers(), [&](const SweepOptimizer& entry) { return kind_of(entry.optimizer()) == run.optimizer; });
  require(optimizer != sweep.optimizers().end(), "the sweep has no runs with {}", name_of(run.optimizer));
  *config.mutable_optimizer() = optimizer->optimizer();
  set_peak_lr(*config.mutable_optimizer(), run.lr);
  config.mutable_parametrization()->set_kind(run.parametrization);
  config.mutable_train()->set_seed(run.seed);
  if (!run.varied.empty()) {
    apply_overrides(run.varied, config);
    *config.mutable_model() = resolve(config.model());
  }
  return with_defaults(config);
}

GrowthAxis axis_of(const SweepConfig& sweep) {
  return sweep.axis() == SweepConfig::HEADS ? GrowthAxis::kHeads : GrowthAxis::kHeadDim;
}

double cost_of(const RunConfig& config) {
  const TrainConfig& train = config.train();
  const std::int64_t tokens = train.steps() * train.global_batch() * train.sequence_length();
  return flops_per_token(config.model()).training() * static_cast<double>(tokens);
}

}  // namespace mudelta
