#pragma once

#include <filesystem>

#include "launch/checkpoint/checkpoint_reader.h"
#include "launch/train/stored_model.h"

namespace mudelta {

// A model as a checkpoint has it, for inference: weights, logit multiplier and the configuration of its run. The ranks
// of a tensor group have a part each, whatever layout the run had, and make the same calls of the model.
class LoadedModel {
 public:
  // `folder`: a checkpoint, or a run (then its newest checkpoint). `local_ranks`: of this host, each of which loads it.
  // Not collective. Throws Error on a checkpoint that is missing or damaged, whose configuration is not that of its
  // parameters, or whose model does not fit into memory, holds a weight that is not finite or cannot be cut into
  // tensor.size() parts.
  explicit LoadedModel(const std::filesystem::path& folder, Device device = {}, int local_ranks = 1,
                       const ProcessGroup& tensor = ProcessGroup::single());

  // That of the run, but for `parallel`, which is that of this job's tensor group.
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
