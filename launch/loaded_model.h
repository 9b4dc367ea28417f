#pragma once

#include <filesystem>

#include "launch/checkpoint_reader.h"
#include "launch/stored_model.h"

namespace mudelta {

// A model as a checkpoint has it, for inference: weights, logit multiplier and the configuration of its run.
class LoadedModel {
 public:
  // `folder`: a checkpoint, or a run (then its newest checkpoint). Throws Error on a checkpoint that is missing or
  // damaged.
  explicit LoadedModel(const std::filesystem::path& folder, Device device = {});

  const RunConfig& config() const { return reader_.manifest().config(); }
  const std::filesystem::path& folder() const { return reader_.folder(); }
  const LanguageModel& model() const { return stored_.model; }
  Stream stream() const { return stream_; }

 private:
  Stream stream_;
  CheckpointReader reader_;
  StoredModel stored_;
};

}  // namespace mudelta
