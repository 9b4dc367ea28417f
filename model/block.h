#pragma once

#include <cstdint>
#include <string>

#include "model/mixer.h"
#include "model/mlp.h"
#include "model/norm.h"

namespace mudelta {

// x += mixer(attn_norm(x));  x += mlp(mlp_norm(x)).
class Block {
 public:
  // Of the whole block, or of a rank's part of it.
  struct Sizes {
    Mixer::Sizes mixer;
    Mlp::Sizes mlp;
  };
  static Sizes sizes(const ModelConfig& resolved) { return {Mixer::sizes(resolved), Mlp::sizes(resolved)}; }
  // Of the largest part that one of `ranks` holds.
  static Sizes part_sizes(const ModelConfig& resolved, int ranks) {
    return {Mixer::part_sizes(resolved, ranks), Mlp::part_sizes(resolved, ranks)};
  }

  static void add_specs(const ModelConfig& resolved, const std::string& prefix, SpecList& specs);
  static FlopsPerToken flops(const Sizes& sizes) { return Mixer::flops(sizes.mixer) + Mlp::flops(sizes.mlp); }
  // The gradient of the residual stream, which backward() is given, is its caller's.
  static LayerMemory memory(const Sizes& sizes, const PassShape& shape);
  static Observed observed();

  // Binds the parameters of layer number `layer`. `norm_eps`: that of its two norms, in the units of the residual
  // stream.
  Block(const ModelConfig& resolved, ParameterStore& store, int layer, double norm_eps);

  MixerState make_state(std::int64_t sequences, Device device) const { return mixer_.make_state(sequences, device); }

  // x [tokens, width] float32 -> the same of the block's output. x is kept, not overwritten.
  Tensor forward(const Tensor& x, MixerState* state, Pass& pass) const;
  // dx [tokens, width] float32: in, the gradient of the output; out, that of the input.
  void backward(const Tensor& dx, Pass& pass) const;

 private:
  struct Input {
    Tensor x;
  };
  Tensor run(const Tensor& x, MixerState* state, Pass& pass) const;
  void run_backward(const Tensor& dx, Pass& pass) const;

  bool recompute_;
  Norm attn_norm_;
  Mixer mixer_;
  Norm mlp_norm_;
  Mlp mlp_;
};

}  // namespace mudelta
