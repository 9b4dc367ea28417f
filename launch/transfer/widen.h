#pragma once

#include <cstdint>

#include "launch/config/config.pb.h"

namespace mudelta {

// What grows: the width, and with it the size or the number of heads, or the number of layers.
enum class GrowthAxis { kHeadDim, kHeads, kDepth };

// The run at another width, its hyperparameters carried over: the model grows along `axis` (the MLP in proportion to
// the width), and parametrization.base_* name the sizes of `base`, whose model is resolved. Throws Error, naming the
// field, where a size would not be a whole number.
RunConfig widened(const RunConfig& base, std::int64_t width, GrowthAxis axis);

// The same at the sizes that are set in `given`. Of heads and head_dim, one that is not given
// follows from the other, their product growing with the width; `axis` decides if neither is given. Where `given` has
// layers, and `base` no base_layers, those of `base` are.
RunConfig widened(const RunConfig& base, const ModelConfig& given, GrowthAxis axis);

// The run with more layers, parametrization.base_layers being those of `base`.
RunConfig deepened(const RunConfig& base, std::int64_t layers);

// Either: `size` is a width, or with kDepth a number of layers.
RunConfig grown(const RunConfig& base, std::int64_t size, GrowthAxis axis);

}  // namespace mudelta
