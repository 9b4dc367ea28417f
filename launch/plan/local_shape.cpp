#include "launch/plan/local_shape.h"

#include <algorithm>

#include "launch/train/unit_elements.h"

namespace mudelta {
LocalShape local_shape(const RunConfig& config, int devices) {
  const MeshSizes mesh = mesh_sizes(devices, config.parallel());
  const TrainConfig& train = config.train();
  const std::int64_t share = train.global_batch() / mesh.data;
  const std::int64_t sequences = train.has_micro_batch() ? std::min(train.micro_batch(), share) : share;
  return {.mesh = mesh,
          .sequences = sequences,
          .tokens = sequences * train.sequence_length() / mesh.context,
          .micro_batches = share / sequences,
          .elements = num_parameters(config.model(), mesh.tensor)};
}

double num_parameters(const ModelConfig& model, int tensor_ranks) {
  return unit_elements(model, DType::kFloat32, {.rank = tensor_ranks - 1, .ranks = tensor_ranks}).all().count();
}

}  // namespace mudelta
