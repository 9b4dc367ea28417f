#include "model/mlp.h"

#include "kernels/swiglu.h"

namespace mudelta {

Mlp::Mlp(ParameterStore& store, const std::string& prefix)
    : gate_proj_(store.find(prefix + "gate_proj.weight")),
      up_proj_(store.find(prefix + "up_proj.weight")),
      down_proj_(store.find(prefix + "down_proj.weight")) {}

void Mlp::forward_add(const Tensor& x, const Tensor& residual, Pass& pass) const {
  const Tensor gate = gate_proj_.forward(x, pass.compute_dtype, pass.stream);
  const Tensor up = up_proj_.forward(x, pass.compute_dtype, pass.stream);
  const Tensor hidden = Tensor::empty(gate.shape(), pass.compute_dtype, x.device());
  kernels::swiglu_forward(gate, up, hidden, pass.stream);
  down_proj_.forward_add(hidden, residual, pass.stream);
  pass.activations.push(Saved{x, gate, up, hidden});
}

Tensor Mlp::backward(const Tensor& dy_float32, Pass& pass) const {
  const auto saved = pass.activations.pop<Saved>();
  const Tensor dy = dy_float32.to(pass.compute_dtype);
  const Tensor dhidden = Tensor::empty(saved.hidden.shape(), pass.compute_dtype, dy.device());
  down_proj_.backward(saved.hidden, dy, dhidden, false, pass.stream);

  const Tensor dgate = saved.gate, dup = saved.up;  // overwritten in place
  kernels::swiglu_backward(saved.gate, saved.up, dhidden, dgate, dup, pass.stream);
  const Tensor dx = Tensor::empty(saved.x.shape(), DType::kFloat32, dy.device());
  gate_proj_.backward(saved.x, dgate, dx, false, pass.stream);
  up_proj_.backward(saved.x, dup, dx, true, pass.stream);
  return dx.to(pass.compute_dtype);
}

}  // namespace mudelta
