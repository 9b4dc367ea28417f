#pragma once

#include "core/dtype.h"
#include "model/config.pb.h"
#include "model/tensor_group.h"
#include "optim/config.pb.h"

namespace mudelta {

// Elements of the parameters of one unit (ParameterSpec::unit), or of several.
struct Elements {
  double compute = 0;  // in the compute dtype
  double wide = 0;     // float32 whatever that is
  double hidden = 0;   // of both, those of HIDDEN parameters

  double count() const { return compute + wide; }
  Elements operator+(const Elements& other) const {
    return {compute + other.compute, wide + other.wide, hidden + other.hidden};
  }
  Elements operator*(double times) const { return {times * compute, times * wide, times * hidden}; }
};

// Of the optimizer's state, beside float32 masters.
double num_state_elements(const Elements& elements, const OptimizerConfig& optimizer);

struct UnitElements {
  Elements embedding, block, head;  // all blocks are alike
  double blocks;

  Elements all() const { return embedding + block * blocks + head; }
};

// Of the part of each unit that the rank at `place` of a tensor group holds: the last rank's is the largest. `model`:
// resolved, of any size.
UnitElements unit_elements(const ModelConfig& model, DType compute_dtype, const TensorPlace& place);

}  // namespace mudelta
