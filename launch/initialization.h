#pragma once

#include <cstdint>

#include "core/parameter_store.h"
#include "optim/parametrization.h"

namespace mudelta {

// Draws every parameter's initial value (core/parameter.h), its spread multiplied as the parametrization says.
void initialize(ParameterStore& store, const Parametrization& parametrization, std::uint64_t seed);

}  // namespace mudelta
