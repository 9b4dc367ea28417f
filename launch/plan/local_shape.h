#pragma once

#include <cstdint>

#include "dist/mesh.h"
#include "launch/config/config.pb.h"
#include "model/config.pb.h"

namespace mudelta {

// What one rank has of a training step.
struct LocalShape {
  MeshSizes mesh;
  std::int64_t sequences;      // at a time, or parts of them
  std::int64_t tokens;         // of these
  std::int64_t micro_batches;  // a step
  double elements;             // of the parameters that it computes with
};
// Throws Error if the model cannot be cut over the tensor ranks.
LocalShape local_shape(const RunConfig& config, int devices);

// Parameters of a model (resolved), or of the largest of the parts that so many tensor ranks have.
double num_parameters(const ModelConfig& model, int tensor_ranks);

}  // namespace mudelta
