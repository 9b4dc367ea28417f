#pragma once

#include <cstdint>

#include "core/parameter_store.h"
#include "dist/mesh.h"
#include "launch/train/unsaved_error.h"

namespace mudelta {

// Ranks that hold the same weights hold other bits.
class DamagedReplica : public UnsavedError {
 public:
  using UnsavedError::UnsavedError;
};

// Compares the bits of the store's values among the ranks that hold the same: along the data and context ranks all of
// them, along the tensor ranks those parameters that each of these holds whole. Throws DamagedReplica on every rank,
// naming the first parameter that differs, and the ranks and hosts that differ from most others. `step`: 1 for the
// first, for the message. Collective over the mesh.
void check_replicas(const ParameterStore& store, const Mesh& mesh, std::int64_t step);

}  // namespace mudelta
