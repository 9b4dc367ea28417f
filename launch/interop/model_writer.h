#pragma once

#include <cstdint>
#include <filesystem>

#include "launch/interop/foreign_format.h"
#include "launch/train/weight_source.h"

// Each function fills the empty `folder` with files of at most `file_bytes` (or of one tensor each, if that has more).
// One file's weights are in memory at a time. Both throw Error as WeightSource::read does, on weights that are not
// finite, and on what cannot be written.

namespace mudelta {

// The weights as a checkpoint without optimizer state: float32, bit for bit. What `eval`, `generate` and
// `train --init-from` open.
void write_checkpoint_of(const WeightSource& weights, std::int64_t file_bytes, const std::filesystem::path& folder);

// The weights as `format` has them: config.json, generation_config.json, model.safetensors (or several files and their
// index). The logit multiplier goes into the gain of the final norm. Matrices are of `dtype`, float32 or bfloat16; what
// stays float32 in training does here. Throws Error, too, on a model that the format cannot hold.
void write_foreign_model(const WeightSource& weights, const ForeignFormat& format, DType dtype, std::int64_t file_bytes,
                         const std::filesystem::path& folder);

}  // namespace mudelta
