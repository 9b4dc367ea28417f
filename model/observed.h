#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mudelta {

// How tables call a parameter, and which observed activation its matrix multiplies (none: it is no such matrix).
struct ObservedWeight {
  std::string parameter;  // its name within the layer; those of a block: without "model.layers.N."
  std::string_view label, input;
};

// What a layer shows of itself to the coordinate check, in the order of its tables.
struct Observed {
  std::vector<std::string_view> activations;
  std::vector<ObservedWeight> weights;

  // Adds what `part` observes; its parameters are called `prefix`...
  void append(Observed part, const std::string& prefix) {
    activations.insert(activations.end(), part.activations.begin(), part.activations.end());
    for (ObservedWeight& weight : part.weights) {
      weight.parameter = prefix + weight.parameter;
      weights.push_back(weight);
    }
  }
};

}  // namespace mudelta
