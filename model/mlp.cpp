#include "model/mlp.h"

#include "core/gemm_workspace.h"
#include "core/profile_range.h"
#include "kernels/swiglu.h"
#include "model/cast.h"

namespace mudelta {

void Mlp::add_specs(const ModelConfig& c, const std::string& prefix, SpecList& specs) {
  const auto [width, hidden] = sizes(c);
  specs.matrix(prefix + "gate_proj.weight", Role::kHidden, hidden, width, 0);
  specs.matrix(prefix + "up_proj.weight", Role::kHidden, hidden, width, 0);
  specs.matrix(prefix + "down_proj.weight", Role::kHidden, width, hidden, 1);
}

FlopsPerToken Mlp::flops(const Sizes& s) {
  return {.matrices = 2 * 3 * static_cast<double>(s.width) * static_cast<double>(s.hidden)};
}

// In the order of forward_add() and backward().
LayerMemory Mlp::memory(const Sizes& s, const PassShape& shape) {
  const DType dtype = shape.compute_dtype;
  const LiveTensors inputs = shape.rows({s.width, s.hidden, s.hidden}, dtype);  // x, gate, up
  const LiveTensors hidden = shape.rows({s.hidden}, dtype);
  const LiveTensors up_product = gemm_workspace(shape.tokens, s.hidden, s.width, dtype, dtype, shape.device);
  const LiveTensors down_product =
      gemm_workspace(shape.tokens, s.width, s.hidden, dtype, DType::kFloat32, shape.device);

  const LiveTensors dhidden = inputs + hidden + shape.cast_rows(s.width) + hidden;
  const LiveTensors dx = dhidden + shape.rows({s.width}, DType::kFloat32);
  const auto product_backward = [&](std::int64_t in, std::int64_t out, DType of_dx) {
    return linear_backward_workspace(shape.tokens, in, out, dtype, of_dx, shape.device);
  };
  return {.kept = shape.recompute == ModelConfig::SELECTIVE ? inputs : inputs + hidden,
          .forward = {inputs + up_product, inputs + hidden + down_product},
          .backward = {dhidden + product_backward(s.hidden, s.width, dtype),
                       dx + product_backward(s.width, s.hidden, DType::kFloat32), dx + shape.cast_rows(s.width)}};
}

Observed Mlp::observed() {
  return {.activations = {},
          .weights = {{"gate_proj.weight", "MLP gate", "mlp_input"},
                      {"up_proj.weight", "MLP up", "mlp_input"},
                      {"down_proj.weight", "MLP down", "mlp_hidden"}}};
}

Mlp::Mlp(const ModelConfig& c, ParameterStore& store, const std::string& prefix)
    : recompute_(c.recompute() == ModelConfig::SELECTIVE),
      gate_proj_(store.find(prefix + "gate_proj.weight")),
      up_proj_(store.find(prefix + "up_proj.weight")),
      down_proj_(store.find(prefix + "down_proj.weight")) {}

void Mlp::forward_add(const Tensor& x, const Tensor& residual, Pass& pass) const {
  const ProfileRange range("mlp forward");
  const Tensor all = pass.tensor.all_rows(x, pass.stream);
  const Tensor gate = gate_proj_.forward(all, pass.compute_dtype, pass.stream);
  const Tensor up = up_proj_.forward(all, pass.compute_dtype, pass.stream);
  const Tensor hidden = activate(gate, up, pass);
  pass.observe("mlp_input", x);
  pass.observe("mlp_hidden", hidden);
  down_proj_.forward_add(hidden, residual, pass);
  pass.activations.push(Saved{x, gate, up, recompute_ ? Tensor() : hidden});
}

Tensor Mlp::backward(const Tensor& dy_float32, Pass& pass) const {
  const ProfileRange range("mlp backward");
  const auto saved = pass.activations.pop<Saved>();
  const Tensor x = pass.tensor.all_rows(saved.x, pass.stream);
  const Tensor dy = pass.tensor.all_rows(cast(dy_float32, pass.compute_dtype, pass.stream), pass.stream);
  const Tensor hidden = recompute_ ? activate(saved.gate, saved.up, pass) : saved.hidden;
  const Tensor dhidden = Tensor::empty(hidden.shape(), pass.compute_dtype, dy.device());
  down_proj_.backward(hidden, dy, dhidden, pass.stream);

  const Tensor dgate = saved.gate, dup = saved.up;  // overwritten in place
  kernels::swiglu_backward(saved.gate, saved.up, dhidden, dgate, dup, pass.stream);
  const Tensor dx = Tensor::empty(x.shape(), DType::kFloat32, dy.device());
  gate_proj_.backward(x, dgate, dx, false, pass.stream);
  up_proj_.backward(x, dup, dx, true, pass.stream);
  return pass.tensor.sum(cast(dx, pass.compute_dtype, pass.stream), pass.stream);
}

Tensor Mlp::activate(const Tensor& gate, const Tensor& up, const Pass& pass) const {
  const Tensor hidden = Tensor::empty(gate.shape(), pass.compute_dtype, gate.device());
  kernels::swiglu_forward(gate, up, hidden, pass.stream);
  return hidden;
}

}  // namespace mudelta
