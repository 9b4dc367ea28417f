#pragma once

#include <cstdint>
#include <string>

#include "core/parameter_store.h"
#include "model/config.pb.h"
#include "model/flops.h"
#include "model/layer_memory.h"
#include "model/linear.h"
#include "model/observed.h"
#include "model/pass.h"
#include "model/spec_list.h"

namespace mudelta {

// W_down(silu(W_gate x) * (W_up x)).
class Mlp {
 public:
  // Of the whole layer, or of a rank's part of it.
  struct Sizes {
    std::int64_t width, hidden;
  };
  static Sizes sizes(const ModelConfig& resolved) { return {resolved.width(), resolved.mlp_size()}; }
  static Sizes part_sizes(const ModelConfig& resolved, int ranks) {
    return {resolved.width(), (resolved.mlp_size() + ranks - 1) / ranks};
  }

  static void add_specs(const ModelConfig& resolved, const std::string& prefix, SpecList& specs);
  static FlopsPerToken flops(const Sizes& sizes);
  static LayerMemory memory(const Sizes& sizes, const PassShape& shape);
  static Observed observed();

  // Binds the parameters named `prefix`{gate,up,down}_proj.weight.
  Mlp(const ModelConfig& resolved, ParameterStore& store, const std::string& prefix);

  // residual [rows, width] float32 += mlp(x). x [rows, width].
  void forward_add(const Tensor& x, const Tensor& residual, Pass& pass) const;
  // dy [rows, width] float32 -> gradient of x, of the compute dtype.
  Tensor backward(const Tensor& dy, Pass& pass) const;

 private:
  struct Saved {
    Tensor x, gate, up;
    Tensor hidden;  // undefined with selective recomputation
  };
  Tensor activate(const Tensor& gate, const Tensor& up, const Pass& pass) const;

  bool recompute_;
  ColumnLinear gate_proj_, up_proj_;
  RowLinear down_proj_;
};

}  // namespace mudelta
