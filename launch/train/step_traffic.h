#pragma once

#include "dist/mesh.h"
#include "launch/config/config.pb.h"

namespace mudelta {

// Bytes that a rank sends in a training step, by the formulas of docs/parallelism.md; they are counted as Traffic
// counts them (dist/traffic.h). Padding of the flat buffers is left out.
struct StepTraffic {
  double tensor = 0;     // within the tensor group
  double context = 0;    // within the context group
  double gradients = 0;  // gradients and values, within Mesh::gradients()
};

// For the rank that is number `tensor_rank` in its tensor group. `config`: with its model resolved.
StepTraffic step_traffic(const RunConfig& config, const MeshSizes& sizes, int tensor_rank = 0);

}  // namespace mudelta
