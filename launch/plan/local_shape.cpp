#include "launch/plan/local_shape.h"

#include <algorithm>
#include <vector>

#include "core/parameter_slice.h"
#include "model/parameter_parts.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

double elements_of_layers(ModelConfig model, std::int64_t layers, int tensor_ranks) {
  model.set_layers(layers);
  const std::vector<ParameterSpec> specs = parameter_specs(model);
  // The last rank's parts are the largest.
  const auto parts = parameter_parts(specs, {.rank = tensor_ranks - 1, .ranks = tensor_ranks});
  double elements = 0;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Shape& whole = specs[i].shape;
    elements += static_cast<double>(parts.empty() ? whole.numel() : SliceMap(whole, parts[i].slice).numel());
  }
  return elements;
}

}  // namespace

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

// All layers are alike.
double num_parameters(const ModelConfig& model, int tensor_ranks) {
  const double one = elements_of_layers(model, 1, tensor_ranks), two = elements_of_layers(model, 2, tensor_ranks);
  return one + (two - one) * static_cast<double>(model.layers() - 1);
}

}  // namespace mudelta
