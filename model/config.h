#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "model/config.pb.h"

namespace mudelta {

// Of each size of a model, and of the channels of all its heads together.
constexpr std::int64_t kMaxModelSize = std::numeric_limits<std::int32_t>::max();

// Throws Error, naming model.FIELD, unless 1 <= value <= kMaxModelSize.
void require_model_size(std::string_view field, std::int64_t value);

// The same configuration with every field set that depends on others (value_heads, head_dim, mlp_size), and with
// either o_norm_eps or the retired query_scale.
// vocab_size must be given by then. Throws Error, naming the field, its value and what was expected, on a model that
// cannot be built: sizes below 1 or above kMaxModelSize, width not divisible as head_dim needs it, value_heads not a
// multiple of heads, ...
ModelConfig resolve(ModelConfig config);

// Size of one head's values, head_dim x expand_v, of a resolved configuration.
std::int64_t value_dim(const ModelConfig& resolved);

// What the norm of the mixer's readout adds to its mean square, also where the retired query_scale says it.
double o_norm_eps(const ModelConfig& resolved);

}  // namespace mudelta
