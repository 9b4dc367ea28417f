#pragma once

#include <cstdint>
#include <string>

#include "core/parameter.h"
#include "model/layer_memory.h"
#include "model/pass.h"
#include "model/spec_list.h"

namespace mudelta {

// RMS norm of the residual stream.
class Norm {
 public:
  static void add_specs(const std::string& name, std::int64_t width, SpecList& specs) {
    specs.gain(name, width, ParameterSpec::Meets::kRows);
  }
  // Its output is its caller's.
  static LiveTensors kept(std::int64_t width, const PassShape& shape) {
    return shape.rows({width, 1}, DType::kFloat32);
  }

  Norm(Parameter& weight, double eps) : weight_(&weight), eps_(static_cast<float>(eps)) {}

  // x [rows, width] float32 -> [rows, width] of the compute dtype. Keeps x and one number a row.
  Tensor forward(const Tensor& x, Pass& pass) const;

  // dx [rows, width] float32 += gradient of x; dy [rows, width] of the compute dtype. Gradient of the gain +=.
  void backward(const Tensor& dy, const Tensor& dx, Pass& pass) const;

 private:
  struct Saved {
    Tensor x, rstd;
  };
  Parameter* weight_;
  float eps_;
};

}  // namespace mudelta
