#pragma once

#include <cstdint>
#include <filesystem>

#include "launch/checkpoint/checkpoint_reader.h"

namespace mudelta {

// Writes FOLDER/model.safetensors, the whole model's float32 weights by the names of its parameters, and
// FOLDER/config.json: the model's configuration under the names of ModelConfig, the tokenizer, the logit multiplier
// and the step; and the tokenizer's file, if it has one. `folder` must be there; files of these names are replaced. Holds all weights in memory at once.
// Returns the bytes of the weights' file. Throws Error, naming the file, on damage or where it cannot be written, and
// if the host has not the memory.
std::int64_t consolidate(const CheckpointReader& checkpoint, const std::filesystem::path& folder);

}  // namespace mudelta
