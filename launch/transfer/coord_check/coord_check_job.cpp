#include "launch/transfer/coord_check/coord_check_job.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "data/prepare.h"
#include "dist/mpi.h"
#include "launch/config/run_config.h"
#include "launch/job/agreement.h"
#include "launch/job/output_path.h"
#include "launch/job/progress.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/training_job.h"
#include "launch/transfer/coord_check/coord_check_probe.h"
#include "launch/transfer/coord_check/coord_check_report.h"
#include "launch/transfer/coord_check/made_up_text.h"
#include "model/parameter_parts.h"

namespace mudelta {
namespace {

constexpr std::int64_t kProbeSequences = 4;
constexpr std::string_view kMadeUpData = "made-up-data", kMadeUpText = "made-up-text.txt";

const std::vector<std::int64_t>& sizes(const CoordCheckRequest& request, GrowthAxis axis) {
  return axis == GrowthAxis::kDepth ? request.layers : request.widths;
}

void check(const CoordCheckRequest& request, const ProcessGroup& world) {
  const auto ascends = [](const std::vector<std::int64_t>& values) {
    return values.front() > 0 && std::ranges::adjacent_find(values, std::greater_equal()) == values.end();
  };
  for (const GrowthAxis axis : request.axes) {
    const std::vector<std::int64_t>& list = sizes(request, axis);
    require(list.size() >= 3 && ascends(list), "--{} is {}: expected at least 3, each larger than the one before it",
            axis == GrowthAxis::kDepth ? "layers" : "widths", fmt::join(list, ","));
  }
  require(!request.steps.empty() && ascends(request.steps),
          "--steps is {}: expected numbers of steps above 0, each larger than the one before it",
          fmt::join(request.steps, ","));
  require(request.seeds >= 1, "--seeds is {}: expected at least 1", request.seeds);
  if (world.rank() == 0) require_free_folder(request.out, request.force, {kMadeUpData, kMadeUpText});
}

// A prepared data set in `folder`.
void make_up_data(const std::filesystem::path& folder) {
  const std::filesystem::path data = folder / kMadeUpData, file = folder / kMadeUpText;
  if (std::filesystem::exists(data / "dataset.json")) return;
  write_file_atomically(file, made_up_text());
  prepare({.text = {.files = {file}}, .out = data, .validation_fraction = 0.1}, {});
}

// The configuration of every run but for its seed and parametrization.
std::vector<RunConfig> configs_of(const RunConfig& config, const CoordCheckRequest& request, GrowthAxis axis) {
  std::vector<RunConfig> configs;
  const RunConfig base = grown(config, sizes(request, axis).front(), axis);
  for (const std::int64_t size : sizes(request, axis)) configs.push_back(grown(base, size, axis));
  return configs;
}

RunConfig resolve_config(const CoordCheckRequest& request, const ProcessGroup& world) {
  RunConfig config;
  run_or_fail_together(world, [&] {
    config = load_run_config(request.config, request.overrides);
    if (!request.data.empty()) {
      config.mutable_data()->clear_sources();
      config.mutable_data()->set_path(request.data);
    }
    require(config.data().sources().empty(),
            "the configuration has data.sources: expected one data set for a coordinate check, e.g. --data {}",
            config.data().sources().empty() ? "" : config.data().sources(0).path());
  });
  // All ranks read the text that one of them makes up.
  const bool has_data = !config.data().path().empty();
  if (!has_data) config.mutable_data()->set_path(request.out / kMadeUpData);
  run_or_fail_together(world, [&] {
    if (world.rank() != 0) return;
    make_folder(request.out);
    if (!has_data) make_up_data(request.out);
  });
  require_shared_folder(world, request.out);
  if (request.optimizer) choose(*config.mutable_optimizer(), *request.optimizer);
  // The schedule is that of the configured run, of which the check sees the beginning.
  config.mutable_train()->set_steps(std::max(config.train().steps(), request.steps.back()));
  config.mutable_train()->set_compute_dtype(TrainConfig::FLOAT32);
  config.mutable_train()->set_cuda_graph(false);  // the check runs on the CPU
  run_or_fail_together(world, [&] {
    config = complete_run_config(std::move(config), world.size());
    const int data_ranks = mesh_sizes(world.size(), config.parallel()).data;
    for (const GrowthAxis axis : request.axes) {
      for (const RunConfig& run : configs_of(config, request, axis)) {
        require_parts(run.model(), run.parallel().tensor());
        require_training_memory(run, data_ranks, rank_info().local_size, {});
      }
    }
  });
  return config;
}

// What a step costs, about.
std::int64_t cost(const RunConfig& config) {
  return config.model().width() * config.model().width() * config.model().layers();
}

std::int64_t size_along(const RunConfig& config, GrowthAxis axis) {
  return axis == GrowthAxis::kDepth ? config.model().layers() : config.model().width();
}

class CoordCheck {
 public:
  CoordCheck(const CoordCheckRequest& request, const ProcessGroup& world)
      : request_(request),
        world_(world),
        config_(resolve_config(request, world)),
        mesh_(world, config_.parallel()),
        optimizer_(title_of(kind_of(config_.optimizer()))) {
    on_first_rank([&] {
      progress_.emplace(stdout, "coord-check", total_cost());
      jsonl_.open(request_.out / "coord-check.jsonl", std::ios::trunc);
      require(jsonl_.good(), "cannot write {}", (request_.out / "coord-check.jsonl").string());
    });
  }

  int run() {
    std::string text;
    bool fails = false;
    for (const GrowthAxis axis : request_.axes) {
      std::vector<CoordColumn> columns;
      std::vector<std::string> plots;
      for (const ParametrizationConfig::Kind kind : request_.parametrizations) {
        const std::vector<CoordRecord> records = measure(axis, kind);
        columns.push_back({kind, judge(records, request_.steps.back(), axis, judged_exponent())});
        on_first_rank([&] { plots.push_back(draw(records, columns.back(), axis)); });
        const bool decides = request_.parametrizations.size() == 1 || kind == ParametrizationConfig::GDN_MUP;
        fails = fails || (decides && !passed(columns.back()));
      }
      text += fmt::format("{}, {} grows, {} {}, {} seeds, after step {}\n{}{}\n", optimizer_, name_of(axis),
                          axis == GrowthAxis::kDepth ? "layers" : "widths", fmt::join(sizes(request_, axis), " "),
                          request_.seeds, request_.steps.back(), coord_table(columns), fmt::join(plots, "\n"));
      if (axis == GrowthAxis::kDepth && !config_.parametrization().has_depth_exponent()) {
        text += "parametrization.depth_exponent is not given: nothing follows the depth\n";
      }
    }
    on_first_rank([&] {
      progress_->finish();
      write_file_atomically(request_.out / "coord-check.txt", text);
      fmt::print("{}", text);
    });
    return static_cast<int>(world_.all_reduce(fails ? 1.0 : 0.0, ReduceOp::kMax));
  }

 private:
  // Printing and writing. Collective.
  void on_first_rank(const std::function<void()>& body) const {
    run_or_fail_together(world_, [&] {
      if (world_.rank() == 0) body();
    });
  }

  double judged_exponent() const {
    const ParametrizationConfig& parametrization = config_.parametrization();
    return parametrization.has_depth_exponent() ? parametrization.depth_exponent() : 1;
  }

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
          records.push_back({axis, kind, size_along(config, axis), seed, std::move(m)});
          if (jsonl_.is_open()) jsonl_ << coord_json_line(records.back(), optimizer_);
        }
        on_first_rank([&] {
          jsonl_ << std::flush;
          require(jsonl_.good(), "cannot write coord-check.jsonl: is the disk full?");
        });
      }
    }
    return records;
  }

  std::vector<CoordMeasurement> train(const RunConfig& config, GrowthAxis axis) {
    std::optional<Trainer> trainer;
    Batch probed;
    run_or_fail_together(world_, [&] {
      trainer.emplace(config, mesh_);
      const Dataset validation(config.data().path(), Split::kValidation);
      const Loader loader(validation, {.sequence_length = config.train().sequence_length(), .shuffle = false});
      probed = loader.batch(0, std::min(kProbeSequences, loader.rows_per_epoch()));
    });
    CoordProbe probe(*trainer, std::move(probed));
    std::vector<CoordMeasurement> all = probe.measure();
    for (std::int64_t step = 1; step <= request_.steps.back(); ++step) {
      const bool measured = std::ranges::find(request_.steps, step) != request_.steps.end();
      if (measured) probe.before_step();
      trainer->step();
      if (measured) std::ranges::move(probe.measure(), std::back_inserter(all));
      done_ += cost(config);
      if (!progress_) continue;
      progress_->update(done_,
                        fmt::format("{} {} {}  seed {}  step {}/{}",
                                    ParametrizationConfig::Kind_Name(config.parametrization().kind()), name_of(axis),
                                    size_along(config, axis), config.train().seed(), step, request_.steps.back()));
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
  ProcessGroup world_;
  RunConfig config_;
  Mesh mesh_;
  std::string optimizer_;
  std::optional<Progress> progress_;  // on rank 0, as `jsonl_`
  std::int64_t done_ = 0;
  std::ofstream jsonl_;
};

}  // namespace

int run_coord_check(const CoordCheckRequest& request, const ProcessGroup& world) {
  run_or_fail_together(world, [&] { check(request, world); });
  return CoordCheck(request, world).run();
}

}  // namespace mudelta
