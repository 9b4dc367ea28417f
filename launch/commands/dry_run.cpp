#include "launch/commands/dry_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "data/config_validation.h"
#include "data/dataset_info.h"
#include "data/prepare.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "dist/mesh.h"
#include "dist/process_group.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"
#include "launch/job/job_devices.h"
#include "launch/job/progress.h"
#include "launch/train/gemm_peak.h"
#include "launch/train/stored_model.h"
#include "launch/train/training_job.h"
#include "launch/transfer/scale_up/scale_up_table.h"
#include "launch/transfer/sweep/sweep_plan.h"
#include "model/config.h"

namespace mudelta {
namespace {

constexpr double kPeakMeasurementSeconds = 0.3;

bool has_data(const RunConfig& config) {
  const auto exists = [](const DataSource& source) {
    std::error_code error;
    return !source.path().empty() && std::filesystem::exists(dataset_info_path(source.path()), error);
  };
  return std::ranges::all_of(sources_of(config.data()), exists);
}

}  // namespace

RunConfig complete_without_data(RunConfig config, int ranks) {
  if (has_data(config)) return complete_run_config(config, ranks);
  DataConfig& data = *config.mutable_data();
  if (!data.has_tokenizer()) data.set_tokenizer(PrepareOptions().tokenizer);
  if (!config.model().has_vocab_size()) {
    config.mutable_model()->set_vocab_size(open_tokenizer(data.tokenizer()).tokenizer->vocab_size());
  }
  const bool has_path = data.has_path() || !data.sources().empty();
  if (!has_path) data.set_path("none");
  validate(config, ranks);
  if (!has_path) data.clear_path();
  *config.mutable_model() = resolve(config.model());
  return with_defaults(config);
}

void print_dry_run(const RunConfig& config, int ranks) {
  fmt::print("{}", describe_scaling(config, mesh_sizes(ranks, config.parallel()).data));
  if (!has_data(config)) {
    fmt::print("data        none is at data.path \"{}\": the vocabulary is that of the tokenizer {}\n",
               config.data().path(), config.data().tokenizer());
  }
  const TrainConfig& train = config.train();
  if (train.device() == TrainConfig::CUDA && usable_gpus().empty()) {
    fmt::print("time        not known: there is no GPU here to measure\n");
    return;
  }
  const Device device = choose_devices(ProcessGroup::single(), train.device()).device;
  const double peak = measure_gemm_peak(compute_dtype(train), device, kPeakMeasurementSeconds);
  const double seconds = cost_of(config) / (peak * ranks);
  fmt::print("time        {} at least: matrix products alone, at the {:.0f} GFLOP/s measured on {}, times {} rank{}\n",
             format_duration(seconds), peak / 1e9, device.to_string(), ranks, ranks == 1 ? "" : "s");
}

}  // namespace mudelta
