#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "launch/train/trainer.h"
#include "launch/transfer/coord_check/coord_check.h"
#include "model/observed.h"

namespace mudelta {

// Watches a run of float32 on the CPU through one fixed batch. Whatever layout trains, it looks at a whole model of its
// own, with the run's weights: collective over the ranks of `trainer`, on each of which it measures the same.
class CoordProbe {
 public:
  // Remembers the weights and activations of now as those of step 0. `trainer` must outlive the probe.
  CoordProbe(Trainer& trainer, Batch batch);

  // To be called before a step that is to be measured: remembers the weights that it starts from.
  void before_step();
  // Activations, and, after a step, their changes, the own contribution of each kind of parameter, and the step's
  // gradients and updates by role.
  std::vector<CoordMeasurement> measure();

 private:
  using Activations = std::map<std::pair<std::string, int>, Tensor>;  // by name and layer

  void fetch_weights();
  Activations run() const;
  // The tensor of which the own contribution of parameter number `parameter`, `observed` in `layer`, is the root mean
  // square.
  Tensor contribution(std::size_t parameter, const ObservedWeight& observed, int layer,
                      const Activations& inputs) const;
  Tensor readout_contribution(const Activations& inputs) const;
  Tensor weight_change(std::size_t parameter) const;

  Trainer& trainer_;
  StoredModel whole_;
  Batch batch_;
  std::vector<Tensor> weights_, initial_weights_, weights_before_step_;
  Activations initial_activations_;
};

}  // namespace mudelta
