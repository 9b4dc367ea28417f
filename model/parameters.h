#pragma once

#include <string>
#include <vector>

#include "core/parameter.h"
#include "model/config.pb.h"

namespace mudelta {

// Every parameter of the language model, in a fixed order (that of the forward pass), without storage.
// Names are those of flash-linear-attention's GatedDeltaNetForCausalLM. `resolved` comes from resolve().
std::vector<ParameterSpec> parameter_specs(const ModelConfig& resolved);

// "model.layers.3."
std::string layer_prefix(int layer);

}  // namespace mudelta
