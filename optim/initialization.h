#pragma once

#include <cstdint>

#include "core/parameter_store.h"
#include "optim/optimizer.h"
#include "optim/parametrization.h"

namespace mudelta {

// Draws every parameter's initial value (core/parameter.h), its spread multiplied as the parametrization says: float32
// into the masters of `optimizer`, which works on `store`, and rounded into the values. Each rank draws what it
// updates: collective over the ranks of the optimizer's shards.
void initialize(const ParameterStore& store, Optimizer& optimizer, const Parametrization& parametrization,
                std::uint64_t seed, Stream stream);

}  // namespace mudelta
