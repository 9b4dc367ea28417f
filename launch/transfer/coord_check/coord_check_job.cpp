#include "launch/transfer/coord_check/coord_check_job.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "data/prepare.h"
#include "launch/config/run_config.h"
#include "launch/job/output_path.h"
#include "launch/job/progress.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/training_job.h"
#include "launch/transfer/coord_check/coord_check_probe.h"
#include "launch/transfer/coord_check/coord_check_report.h"
#include "launch/transfer/coord_check/made_up_text.h"

namespace mudelta {
namespace {

constexpr std::int64_t kProbeSequences = 4;
constexpr std::string_view kMadeUpData = "made-up-data", kMadeUpText = "made-up-text.txt";

void check(const CoordCheckRequest& request) {
  const auto ascends = [](const std::vector<std::int64_t>& values) {
    return values.front() > 0 && std::ranges::adjacent_find(values, std::greater_equal()) == values.end();
  };
  require(request.widths.size() >= 3 && ascends(request.widths),
          "--widths is {}: expected at least 3 widths, each larger than the one before it",
          fmt::join(request.widths, ","));
  require(!request.steps.empty() && ascends(request.steps),
          "--steps is {}: expected numbers of steps above 0, each larger than the one before it",
          fmt::join(request.steps, ","));
  require(request.seeds >= 1, "--seeds is {}: expected at least 1", request.seeds);
  require_free_folder(request.out, request.force, {kMadeUpData, kMadeUpText});
}

// A prepared data set in `folder`.
std::filesystem::path made_up_data(const std::filesystem::path& folder) {
  const std::filesystem::path data = folder / kMadeUpData, file = folder / kMadeUpText;
  if (std::filesystem::exists(data / "dataset.json")) return data;
  write_file_atomically(file, made_up_text());
  prepare({.inputs = {file}, .out = data, .validation_fraction = 0.1}, {});
  return data;
}

// The configuration of every run but for its seed and parametrization.
std::vector<RunConfig> configs_of(const RunConfig& config, const CoordCheckRequest& request, GrowthAxis axis) {
  std::vector<RunConfig> configs;
  const RunConfig base = widened(config, request.widths.front(), axis);
  for (const std::int64_t width : request.widths) configs.push_back(widened(base, width, axis));
  return configs;
}

RunConfig resolve_config(const CoordCheckRequest& request) {
  RunConfig config = load_run_config(request.config, request.overrides);
  make_folder(request.out);
  if (!request.data.empty()) config.mutable_data()->set_path(request.data);
  if (config.data().path().empty()) config.mutable_data()->set_path(made_up_data(request.out));
  if (request.optimizer) choose(*config.mutable_optimizer(), *request.optimizer);
  // The schedule is that of the configured run, of which the check sees the beginning.
  config.mutable_train()->set_steps(std::max(config.train().steps(), request.steps.back()));
  config.mutable_train()->set_compute_dtype(TrainConfig::FLOAT32);
  config.mutable_train()->set_cuda_graph(false);  // the check runs on the CPU
  config = complete_run_config(std::move(config), 1);
  for (const GrowthAxis axis : request.axes) {
    for (const RunConfig& run : configs_of(config, request, axis)) require_training_memory(run, 1, 1, {});
  }
  return config;
}

// What a step costs, about.
std::int64_t cost(const RunConfig& config) { return config.model().width() * config.model().width(); }

class CoordCheck {
 public:
  explicit CoordCheck(const CoordCheckRequest& request)
      : request_(request),
        config_(resolve_config(request)),
        optimizer_(title_of(kind_of(config_.optimizer()))),
        progress_(stdout, "coord-check", total_cost()) {
    jsonl_.open(request_.out / "coord-check.jsonl", std::ios::trunc);
    require(jsonl_.good(), "cannot write {}", (request_.out / "coord-check.jsonl").string());
  }

  int run() {
    std::string text;
    bool fails = false;
    for (const GrowthAxis axis : request_.axes) {
      std::vector<CoordColumn> columns;
      std::vector<std::string> plots;
      for (const ParametrizationConfig::Kind kind : request_.parametrizations) {
        const std::vector<CoordRecord> records = measure(axis, kind);
        columns.push_back({kind, judge(records, request_.steps.back(), axis)});
        plots.push_back(draw(records, columns.back(), axis));
        const bool decides = request_.parametrizations.size() == 1 || kind == ParametrizationConfig::GDN_MUP;
        fails = fails || (decides && !passed(columns.back()));
      }
      text += fmt::format("{}, {} grows, widths {}, {} seeds, after step {}\n{}{}\n", optimizer_, name_of(axis),
                          fmt::join(request_.widths, " "), request_.seeds, request_.steps.back(), coord_table(columns),
                          fmt::join(plots, "\n"));
    }
    progress_.finish();
    write_file_atomically(request_.out / "coord-check.txt", text);
    fmt::print("{}", text);
    return fails ? 1 : 0;
  }

 private:
  std::int64_t total_cost() const {
    std::int64_t total = 0;
    for (const GrowthAxis axis : request_.axes) {
      for (const RunConfig& config : configs_of(config_, request_, axis)) total += cost(config);
    }
    return total * request_.seeds * request_.steps.back() * static_cast<std::int64_t>(request_.parametrizations.size());
  }

  std::vector<CoordRecord> measure(GrowthAxis axis, ParametrizationConfig::Kind kind) {
    std::vector<CoordRecord> records;
    for (RunConfig config : configs_of(config_, request_, axis)) {
      config.mutable_parametrization()->set_kind(kind);
      for (int i = 0; i < request_.seeds; ++i) {
        const std::uint64_t seed = config_.train().seed() + static_cast<std::uint64_t>(i);
        config.mutable_train()->set_seed(seed);
        for (CoordMeasurement& m : train(config, axis)) {
          records.push_back({axis, kind, config.model().width(), seed, std::move(m)});
          jsonl_ << coord_json_line(records.back(), optimizer_);
        }
        jsonl_ << std::flush;
        require(jsonl_.good(), "cannot write coord-check.jsonl: is the disk full?");
      }
    }
    return records;
  }

  std::vector<CoordMeasurement> train(const RunConfig& config, GrowthAxis axis) {
    Trainer trainer(config, Mesh(ProcessGroup::single(), config.parallel()));
    const Dataset validation(config.data().path(), Split::kValidation);
    const Loader loader(validation, {.sequence_length = config.train().sequence_length(), .shuffle = false});
    CoordProbe probe(trainer, loader.batch(0, std::min(kProbeSequences, loader.rows_per_epoch())));
    std::vector<CoordMeasurement> all = probe.measure();
    for (std::int64_t step = 1; step <= request_.steps.back(); ++step) {
      const bool measured = std::ranges::find(request_.steps, step) != request_.steps.end();
      if (measured) probe.before_step();
      trainer.step();
      if (measured) std::ranges::move(probe.measure(), std::back_inserter(all));
      done_ += cost(config);
      progress_.update(done_,
                       fmt::format("{} {} {}  seed {}  step {}/{}",
                                   ParametrizationConfig::Kind_Name(config.parametrization().kind()), name_of(axis),
                                   config.model().width(), config.train().seed(), step, request_.steps.back()));
    }
    return all;
  }

  std::string draw(const std::vector<CoordRecord>& records, const CoordColumn& column, GrowthAxis axis) const {
    const std::string& name = ParametrizationConfig::Kind_Name(column.parametrization);
    const std::string title = fmt::format("{}, {}, {} grows: slopes of log RMS after step {}", name, optimizer_,
                                          name_of(axis), request_.steps.back());
    return write_plot(coord_plot(records, column.verdicts, title),
                      request_.out / fmt::format("coord-check-{}-{}", name_of(axis), name));
  }

  CoordCheckRequest request_;
  RunConfig config_;
  std::string optimizer_;
  Progress progress_;
  std::int64_t done_ = 0;
  std::ofstream jsonl_;
};

}  // namespace

int run_coord_check(const CoordCheckRequest& request) {
  check(request);
  return CoordCheck(request).run();
}

}  // namespace mudelta
