#pragma once

#include <span>
#include <vector>

#include "core/parameter_store.h"
#include "dist/process_group.h"
#include "optim/optimizer.h"

namespace mudelta {

// Whole parameters, put together from what the ranks of `world` own of them (`segments`): float32 on the host, in the
// store's order, the same on every rank. For small models, as each rank gets all of them. Collective.
std::vector<Tensor> whole_weights(const ParameterStore& store, std::span<const OptimizerSegment> segments,
                                  const ProcessGroup& world);
// The gradients that the last update used.
std::vector<Tensor> whole_gradients(const ParameterStore& store, std::span<const OptimizerSegment> segments,
                                    const ProcessGroup& world);

}  // namespace mudelta
