#pragma once

namespace mudelta {

// What a parametrization multiplies within the forward pass; 1 in the base model.
struct ForwardMultipliers {
  double logits = 1;
  double residual = 1;  // of what mixers and MLPs add to the residual stream

  friend bool operator==(const ForwardMultipliers&, const ForwardMultipliers&) = default;
};

}  // namespace mudelta
