#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "launch/coord_check.h"
#include "launch/trainer.h"

namespace mudelta {

// Watches a run of float32 on the CPU through one fixed batch.
class CoordProbe {
 public:
  // Remembers the weights and activations of now as those of step 0. `trainer` must outlive the probe.
  CoordProbe(Trainer& trainer, Batch batch);

  // Activations, and, after the first step, their changes and the own contribution of each kind of parameter.
  std::vector<CoordMeasurement> measure() const;

 private:
  using Activations = std::map<std::pair<std::string, int>, Tensor>;  // by name and layer

  Activations run() const;
  // The tensor of which the parameter's own contribution is the root mean square.
  Tensor contribution(std::size_t parameter, const Activations& inputs) const;
  Tensor readout_contribution(const Activations& inputs) const;
  Tensor weight_change(std::size_t parameter) const;

  Trainer& trainer_;
  Batch batch_;
  std::vector<Tensor> initial_weights_;
  Activations initial_activations_;
};

}  // namespace mudelta
