#include "model/norm.h"

#include "kernels/rms_norm.h"

namespace mudelta {

Tensor Norm::forward(const Tensor& x, Pass& pass) const {
  const Tensor y = Tensor::empty(x.shape(), pass.compute_dtype, x.device());
  const Tensor rstd = Tensor::empty({x.size(0)}, DType::kFloat32, x.device());
  kernels::rms_norm_forward(x, weight_->value, eps_, y, rstd, pass.stream);
  pass.activations.push(Saved{x, rstd});
  return y;
}

void Norm::backward(const Tensor& dy, const Tensor& dx, Pass& pass) const {
  const auto saved = pass.activations.pop<Saved>();
  kernels::rms_norm_backward(saved.x, weight_->value, saved.rstd, dy, dx, dx, weight_->gradient, pass.stream);
}

}  // namespace mudelta
