#pragma once

#include <cstdint>

#include "launch/config/config.pb.h"

namespace mudelta {

// What grows with the width; the other stays as it is in the base model.
enum class GrowthAxis { kHeadDim, kHeads };

// The run at another width, its hyperparameters carried over: the model grows along `axis` (the MLP in proportion to
// the width), and parametrization.base_* name the sizes of `base`, whose model is resolved. Throws Error, naming the
// field, where a size would not be a whole number.
RunConfig widened(const RunConfig& base, std::int64_t width, GrowthAxis axis);

// The same at the sizes that are set in `given`, among them the width. Of heads and head_dim, one that is not given
// follows from the other, their product growing with the width; `axis` decides if neither is given.
RunConfig widened(const RunConfig& base, const ModelConfig& given, GrowthAxis axis);

}  // namespace mudelta
