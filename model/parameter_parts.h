#pragma once

#include <span>
#include <vector>

#include "core/parameter.h"
#include "model/config.pb.h"
#include "model/tensor_group.h"

namespace mudelta {

// Throws Error, naming the field, its value and what was expected, unless `ranks` ranks can share the model: value
// heads go evenly over the ranks, each with the key head that it reads, and every rank has a row of the vocabulary and
// a column of the MLP.
void require_parts(const ModelConfig& resolved, int ranks);

// What the rank at `place` in the tensor group holds of each of parameter_specs(resolved): of a cut dimension, its
// share of the pieces that stay together (ParameterSpec::shard_unit); a piece that several ranks need, as key heads may
// be, on each of them. Where the ranks that hold the same see different heads, or with cut rows different tokens, their
// gradients are partial. Empty for a group of one: all of each.
std::vector<ParameterPart> parameter_parts(std::span<const ParameterSpec> specs, const TensorPlace& place);

}  // namespace mudelta
