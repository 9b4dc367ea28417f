#pragma once

#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint_reader.h"

namespace mudelta {

// How far the weights of a parameter, or of several, are from those of another checkpoint: b - a.
struct WeightDifference {
  std::string parameter;
  double squares_a = 0;           // |a|^2
  double squares_difference = 0;  // |b - a|^2
  double largest = 0;             // of |b - a|, element by element; NaN if an element of either is not a number

  // |b - a| / |a|; 0 where both are equal, infinity where only a is 0.
  double relative() const;
  void add(const WeightDifference& other);
};

// Of each parameter, in the order of the manifests. Throws Error, naming the first difference, unless both have the
// same parameters and shapes; also on damage.
std::vector<WeightDifference> difference_of(const CheckpointReader& a, const CheckpointReader& b);

}  // namespace mudelta
