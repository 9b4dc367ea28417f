#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/config/config.pb.h"
#include "launch/train/weight_source.h"

namespace mudelta {

// A training run as the command line asks for it.
struct TrainingRequest {
  std::filesystem::path config;
  std::vector<std::string> overrides;  // of --set
  std::filesystem::path out;
  bool resume = false;
  // With `resume`: the step of the checkpoint to go on from; those of later steps are set aside. Nothing: the newest.
  std::optional<std::int64_t> from = {};
  // With `resume`: in what the checkpoint may differ from the configuration (launch/checkpoint/checkpoint_model.h).
  std::vector<std::string> allowed = {};
  // Opens what the run's weights start from, with a model that the configuration may leave out
  // (launch/train/initial_weights.h); empty: from those that the seed gives.
  std::function<std::unique_ptr<const WeightSource>()> initial_weights = {};
};

// The same configuration, complete: fields that follow from others and from the data set are filled in.
// Throws Error, naming the field, on one that no run of `world_size` ranks can have.
RunConfig complete_run_config(RunConfig config, int world_size);

// Trains until train.steps are done, or until a stop signal reaches any rank: then a checkpoint is written first.
// Rank 0 shows progress on stdout and writes the run directory. Collective over all ranks of the job.
// Returns the exit code: 0, or 143 after a signal.
int run_training(const TrainingRequest& request);

}  // namespace mudelta
