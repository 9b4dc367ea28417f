#pragma once

#include <filesystem>

#include "launch/checkpoint/checkpoint_reader.h"
#include "launch/train/stored_model.h"

namespace mudelta {

// A model as a checkpoint has it, for inference: weights, logit multiplier and the configuration of its run.
class LoadedModel {
 public:
  // `folder`: a checkpoint, or a run (then its newest checkpoint). `local_ranks`: of this host, each of which loads it.
  // Throws Error on a checkpoint that is missing or damaged, whose configuration is not that of its parameters, or
  // whose model does not fit into memory or holds a weight that is not finite.
  explicit LoadedModel(const std::filesystem::path& folder, Device device = {}, int local_ranks = 1);

  const RunConfig& config() const { return config_; }
  const std::filesystem::path& folder() const { return reader_.folder(); }
  const LanguageModel& model() const { return stored_.model; }
  Stream stream() const { return stream_; }

 private:
  Stream stream_;
  CheckpointReader reader_;
  RunConfig config_;
  StoredModel stored_;
};

}  // namespace mudelta
