#include "model/block.h"

#include "model/parameters.h"

namespace mudelta {

void Block::add_specs(const ModelConfig& c, const std::string& prefix, SpecList& specs) {
  Norm::add_specs(prefix + "attn_norm.weight", c.width(), specs);
  Mixer::add_specs(c, prefix + "attn.", specs);
  Norm::add_specs(prefix + "mlp_norm.weight", c.width(), specs);
  Mlp::add_specs(c, prefix + "mlp.", specs);
}

LayerMemory Block::memory(const Sizes& sizes, const PassShape& shape) {
  const std::int64_t width = sizes.mixer.width;
  const LiveTensors residual = shape.rows({width}, DType::kFloat32), norm = Norm::kept(width, shape);
  const LayerMemory mixer = Mixer::memory(sizes.mixer, shape), mlp = Mlp::memory(sizes.mlp, shape);

  LayerMemory block;
  const bool recompute = shape.recompute == ModelConfig::FULL;
  block.kept = recompute ? residual : norm + mixer.kept + norm + mlp.kept;
  for (const LiveTensors& moment : mixer.forward) block.forward.push_back(residual + residual + moment);
  for (const LiveTensors& moment : mlp.forward) block.forward.push_back(residual + residual + residual + moment);
  // The input of the block is that of its first norm: what was kept with full recomputation is among this.
  const LiveTensors dmlp_input = shape.rows({width}, shape.compute_dtype);
  for (const LiveTensors& moment : mlp.backward) block.backward.push_back(norm + mixer.kept + norm + moment);
  for (const LiveTensors& moment : mixer.backward) block.backward.push_back(norm + dmlp_input + moment);
  return block;
}

Observed Block::observed() {
  Observed all;
  all.append(Mixer::observed(), "attn.");
  all.append(Mlp::observed(), "mlp.");
  all.append({.activations = {"mixer", "mlp", "residual"},
              .weights = {{"attn_norm.weight", "norm", ""}, {"mlp_norm.weight", "norm", ""}}},
             "");
  return all;
}

Block::Block(const ModelConfig& c, ParameterStore& store, int layer, double norm_eps)
    : recompute_(c.recompute() == ModelConfig::FULL),
      attn_norm_(store.find(layer_prefix(layer) + "attn_norm.weight"), norm_eps),
      mixer_(c, store, layer_prefix(layer) + "attn."),
      mlp_norm_(store.find(layer_prefix(layer) + "mlp_norm.weight"), norm_eps),
      mlp_(c, store, layer_prefix(layer) + "mlp.") {}

Tensor Block::forward(const Tensor& x, MixerState* state, Pass& pass) const {
  if (!recompute_ || !pass.activations.keeps()) return run(x, state, pass);
  Pass discarding = pass.fork(Activations::Mode::kDiscard);
  pass.activations.push(Input{x});
  return run(x, state, discarding);
}

void Block::backward(const Tensor& dx, Pass& pass) const {
  if (!recompute_) return run_backward(dx, pass);
  Pass again = pass.fork(Activations::Mode::kKeep);
  run(pass.activations.pop<Input>().x, nullptr, again);
  run_backward(dx, again);
}

Tensor Block::run(const Tensor& x, MixerState* state, Pass& pass) const {
  const Tensor middle = x.clone();
  mixer_.forward_add(attn_norm_.forward(x, pass), middle, state, pass);
  pass.observe("residual", middle);
  const Tensor out = middle.clone();
  mlp_.forward_add(mlp_norm_.forward(middle, pass), out, pass);
  pass.observe("residual", out);
  return out;
}

void Block::run_backward(const Tensor& dx, Pass& pass) const {
  const Tensor dmlp_input = mlp_.backward(dx, pass);
  mlp_norm_.backward(dmlp_input, dx, pass);
  const Tensor dmixer_input = mixer_.backward(dx, pass);
  attn_norm_.backward(dmixer_input, dx, pass);
}

}  // namespace mudelta
