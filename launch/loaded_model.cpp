#include "launch/loaded_model.h"

#include "launch/checkpoint.h"
#include "launch/checkpoint_folder.h"

namespace mudelta {

LoadedModel::LoadedModel(const std::filesystem::path& folder, Device device)
    : stream_(device),
      reader_(resolve_checkpoint(folder)),
      stored_(config(), reader_.manifest().logit_multiplier(), device) {
  load_weights(reader_, stored_.store);
}

}  // namespace mudelta
