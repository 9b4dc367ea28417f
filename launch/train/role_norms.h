#pragma once

#include <span>
#include <vector>

#include "core/parameter_store.h"
#include "dist/process_group.h"
#include "optim/optimizer.h"

namespace mudelta {

// Euclidean norms over all elements of a role's parameters.
struct RoleNorms {
  Role role = Role::kHidden;
  double gradient = 0;  // before clipping
  double weight = 0;    // of the float32 masters
};

// Of every role that the store has, in the order of Role. Gradients as the shards have reduced them; `segments`: the
// optimizer's, on this rank. Collective over `world`, all ranks: the same on each.
std::vector<RoleNorms> role_norms(const ParameterStore& store, std::span<const OptimizerSegment> segments,
                                  const ProcessGroup& world, Stream stream);

}  // namespace mudelta
