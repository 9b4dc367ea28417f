#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/parameter.h"
#include "model/config.pb.h"

namespace mudelta {

// Every parameter of the language model, in a fixed order (that of the forward pass), without storage. Units: 0 is the
// embedding, layer + 1 a block, layers + 1 the head (final norm, and readout where it is not the embedding).
// Names are those of flash-linear-attention's GatedDeltaNetForCausalLM. `resolved` comes from resolve().
std::vector<ParameterSpec> parameter_specs(const ModelConfig& resolved);

// "model.layers.3."
std::string layer_prefix(int layer);

// A parameter's name taken apart.
struct ParameterPlace {
  int layer = -1;         // -1: outside of the blocks
  std::string_view name;  // what follows layer_prefix(layer); outside of the blocks, all of it
};
ParameterPlace place_of(std::string_view parameter);

}  // namespace mudelta
