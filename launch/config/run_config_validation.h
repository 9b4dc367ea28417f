#pragma once

#include "launch/config/config.pb.h"

namespace mudelta {

// Throws Error naming the field, its value and what was expected, on values that no run of `world_size` ranks can have.
// Left to others: the model's sizes (model/config.h) and what parallel.tensor and parallel.context may be
// (dist/mesh.h).
void validate(const RunConfig& config, int world_size);

}  // namespace mudelta
