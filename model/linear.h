#pragma once

#include "core/gemm.h"
#include "core/parameter.h"

namespace mudelta {

// y = x W^T without bias. Keeps no activations: the layer that owns it does.
class Linear {
 public:
  explicit Linear(Parameter& weight) : weight_(&weight) {}

  // x [tokens, in] -> [tokens, out] of `dtype` (=).
  Tensor forward(const Tensor& x, DType dtype, Stream stream) const {
    const Tensor y = Tensor::empty({x.size(0), weight_->value.size(0)}, dtype, x.device());
    linear_forward(x, weight_->value, y, stream);
    return y;
  }

  // y [tokens, out] float32 += x W^T.
  void forward_add(const Tensor& x, const Tensor& y, Stream stream) const {
    gemm(x, weight_->value, y, {.transpose_b = true, .accumulate = true}, stream);
  }

  // dx [tokens, in] (=), or += with `accumulate_dx`; gradient of W +=. dy has the dtype of x.
  void backward(const Tensor& x, const Tensor& dy, const Tensor& dx, bool accumulate_dx, Stream stream) const {
    linear_backward(x, weight_->value, dy, dx, accumulate_dx, weight_->gradient, stream);
  }

 private:
  Parameter* weight_;
};

}  // namespace mudelta
