#pragma once

#include "core/gemm.h"
#include "core/parameter.h"
#include "kernels/elementwise.h"
#include "model/pass.h"

namespace mudelta {

// y = x W^T without bias, W [out, in]. Neither keeps activations: the layer that owns it does.

// A rank of the tensor group has some rows of W, and so some columns of y.
class ColumnLinear {
 public:
  explicit ColumnLinear(Parameter& weight) : weight_(&weight) {}

  // x [all rows, in] -> [all rows, this rank's out] of `dtype` (=).
  Tensor forward(const Tensor& x, DType dtype, Stream stream) const {
    const Tensor y = Tensor::empty({x.size(0), weight_->value.size(0)}, dtype, x.device());
    linear_forward(x, weight_->value, y, stream);
    return y;
  }

  // dx [all rows, in] (=), or += with `accumulate_dx`: what this rank's columns contribute. Gradient of W +=. dy has
  // the dtype of x.
  void backward(const Tensor& x, const Tensor& dy, const Tensor& dx, bool accumulate_dx, Stream stream) const {
    linear_backward(x, weight_->value, dy, dx, accumulate_dx, weight_->gradient, stream);
  }

 private:
  Parameter* weight_;
};

// A rank has some columns of W and of x; y is a sum over ranks.
class RowLinear {
 public:
  explicit RowLinear(Parameter& weight) : weight_(&weight) {}

  // y [this rank's rows, out] float32 += x W^T. x [all rows, this rank's in]. Parts of the sum travel in the dtype of
  // x.
  void forward_add(const Tensor& x, const Tensor& y, const Pass& pass) const {
    if (pass.tensor.size() == 1) {
      gemm(x, weight_->value, y, {.transpose_b = true, .accumulate = true}, pass.stream);
      return;
    }
    const Tensor partial = Tensor::empty({x.size(0), y.size(1)}, x.dtype(), x.device());
    linear_forward(x, weight_->value, partial, pass.stream);
    kernels::add_to(pass.tensor.sum(partial, pass.stream), y, pass.stream);
  }

  // dx [all rows, this rank's in] (=); gradient of W +=. dy [all rows, out] has the dtype of x.
  void backward(const Tensor& x, const Tensor& dy, const Tensor& dx, Stream stream) const {
    linear_backward(x, weight_->value, dy, dx, /*accumulate_dx=*/false, weight_->gradient, stream);
  }

 private:
  Parameter* weight_;
};

}  // namespace mudelta
