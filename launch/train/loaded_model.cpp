#include "launch/train/loaded_model.h"

#include "core/error.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_load.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/train/memory_estimate.h"
#include "model/config.h"
#include "model/parameter_parts.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

// The checkpoint's configuration on `tensor_ranks` ranks, once it is known to be that of the stored parameters and to
// fit into memory.
RunConfig checked_config(const CheckpointReader& checkpoint, int local_ranks, int tensor_ranks, Device device) {
  const CheckpointManifest& manifest = checkpoint.manifest();
  RunConfig config = manifest.config();
  config.clear_parallel();
  config.mutable_parallel()->set_tensor(tensor_ranks);
  try {
    *config.mutable_model() = resolve(config.model());
    require(config.model().layers() <= manifest.parameters_size(),
            "model.layers is {}, but there are {} parameters in all", config.model().layers(),
            manifest.parameters_size());
    require_parts(config.model(), tensor_ranks);
    require_memory(estimate_inference_memory(config, 0, device), config.model(), "", local_ranks, device);
  } catch (const Error& error) {
    fail("{}: {}", checkpoint.folder().string(), error.what());
  }
  check_parameters(checkpoint, parameter_specs(config.model()));
  return config;
}

}  // namespace

LoadedModel::LoadedModel(const std::filesystem::path& folder, Device device, int local_ranks,
                         const ProcessGroup& tensor)
    : stream_(device),
      reader_(resolve_checkpoint(folder)),
      config_(checked_config(reader_, local_ranks, tensor.size(), device)),
      stored_(config_, forward_multipliers_of(reader_.manifest()), kForInference, device, 1,
              TensorGroup(tensor, /*cuts_rows=*/false)) {
  load_weights(reader_, stored_.store);
}

}  // namespace mudelta
