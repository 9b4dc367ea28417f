#pragma once

#include <filesystem>
#include <span>

#include "core/parameter_store.h"
#include "data/dataset.h"
#include "dist/process_group.h"
#include "launch/checkpoint_reader.h"
#include "launch/config.pb.h"
#include "launch/manifest.pb.h"
#include "optim/optimizer.h"
#include "optim/parametrization.h"

// Checkpoints of a run. RUN/checkpoints/step-00001000/ holds one safetensors file per rank with the segments that the
// rank's optimizer owns, and manifest.textproto (launch/manifest.proto). It is written under a temporary name and
// renamed when everything is on the disk, so a crash at any instant leaves every older checkpoint as it was and the
// new one either whole or under a name that is never read.
// Finding, listing and resolving folders: launch/checkpoint_folder.h.

namespace mudelta {

// The model that is saved, or that a checkpoint has to fit.
struct CheckpointContext {
  const RunConfig& config;  // with every default written out
  ParameterStore& store;
  std::span<const ParameterScaling> scaling;  // one entry per parameter of the store
  double logit_multiplier = 1;
  const DatasetInfo* data_set = nullptr;  // that it is trained on; null: neither written nor compared
};

// Writes the checkpoint of step `state.step()`, then, unless that step was skipped, removes old ones but for the
// config.checkpoint().keep() newest (0: all stay). Collective over `group`, whose ranks' segments together make up the
// model; rank 0's folder must be the same folder on every rank. Throws the same Error on every rank, naming the first
// rank that failed, its file and the reason; the temporary folder is then gone and older checkpoints are as they were.
// Throws Error, too, if the run already holds a checkpoint of this or of a later step.
void save_checkpoint(const std::filesystem::path& run_dir, const CheckpointContext& context, const TrainingState& state,
                     Optimizer& optimizer, const ProcessGroup& group);

// Reads weights and optimizer state into `optimizer`, whatever the number of ranks that wrote them, and gives every
// rank the new weights. Collective over `group`, as above.
// Throws the same Error on every rank if the checkpoint's model, optimizer kind or multipliers are not those of
// `context` (naming the first difference), if the data set or the order of its rows is another, or if a file is missing
// or damaged (naming it, and the newest sound checkpoint before this one); the optimizer's state is then undefined.
TrainingState load_checkpoint(const CheckpointReader& checkpoint, const CheckpointContext& context,
                              Optimizer& optimizer, const ProcessGroup& group, Stream stream);

// Weights alone, for inference: the store's values = the float32 masters, rounded to each value's dtype. Not
// collective. Throws Error on a parameter that is missing, unknown to the store or of another shape, on a weight that
// is not finite, and on damage.
void load_weights(const CheckpointReader& checkpoint, ParameterStore& store);

}  // namespace mudelta
