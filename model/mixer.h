#pragma once

#include <cstdint>
#include <string>

#include "core/parameter_store.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "kernels/gates.h"
#include "kernels/short_conv.h"
#include "model/config.pb.h"
#include "model/flops.h"
#include "model/layer_memory.h"
#include "model/linear.h"
#include "model/observed.h"
#include "model/pass.h"
#include "model/spec_list.h"

namespace mudelta {

// What a mixer carries from one piece of a sequence to the next; its size does not depend on the tokens so far.
struct MixerState {
  Tensor q_rows, k_rows, v_rows;  // [sequences, conv_size - 1, channels] float32, inputs of the convolutions
  Tensor recurrent;               // [sequences, value_heads, head_dim, value_dim] float32
};

// What it takes over, of the tokens before a rank's part of rows, where ranks have parts.
struct MixerPast {
  MixerState rows;     // of the convolutions alone
  Tensor states;       // [parts, value_heads, head_dim, value_dim] float32, what documents come in with
  Tensor transitions;  // [parts, value_heads, head_dim, head_dim] float32, what a part does to it (M); undefined on the
                       // first and the last rank, where nobody needs it
};

// The gated delta mixer:
//   q, k, v = silu(conv(W_{q,k,v} x)),  q and k L2-normalised per head
//   beta = sigmoid(W_b x),  g = -exp(A_log) softplus(W_a x + dt_bias)
//   o = head_dim^1/2 S q, S the state of gated_delta_rule(q, k, v, g, beta)
//   out = W_o (rms_norm(o; o_norm_eps) * silu(W_g x))
class Mixer {
 public:
  // Of the whole layer, or of the heads that a rank holds.
  struct Sizes {
    std::int64_t width, heads, value_heads, head_dim, value_dim, conv_size;

    std::int64_t keys() const { return heads * head_dim; }  // channels of q, and of k
    std::int64_t values() const { return value_heads * value_dim; }
  };
  static Sizes sizes(const ModelConfig& resolved);
  // Of the part that one of `ranks` holds: value heads are shared out evenly, and a key head is where its value heads
  // are. Throws Error, naming the field, if they cannot be.
  static Sizes part_sizes(const ModelConfig& resolved, int ranks);

  static void add_specs(const ModelConfig& resolved, const std::string& prefix, SpecList& specs);
  static FlopsPerToken flops(const Sizes& sizes);
  static LayerMemory memory(const Sizes& sizes, const PassShape& shape);
  static Observed observed();

  // Binds the parameters named `prefix`...
  Mixer(const ModelConfig& resolved, ParameterStore& store, const std::string& prefix);

  MixerState make_state(std::int64_t sequences, Device device) const;  // zeros: the start of a text

  // residual [rows, width] float32 += mixer(x). x [rows, width]. `state`, if not null, is read and updated;
  // then no backward pass can follow, and Error is thrown unless the pass discards its activations.
  void forward_add(const Tensor& x, const Tensor& residual, MixerState* state, Pass& pass) const;
  // dy [rows, width] float32 -> gradient of x, of the compute dtype.
  Tensor backward(const Tensor& dy, Pass& pass) const;

 private:
  struct ConvPath {
    ColumnLinear projection;
    Parameter* taps;
  };
  // What is cheap to compute again from the rest of what is saved.
  struct Derived {
    Tensor q, q_rstd, k, k_rstd, v, g, beta, y, o_rstd;
  };
  struct Saved {
    Tensor x, q_in, k_in, v_in, z_a, z_b, o, gate;
    kernels::GatedDeltaRuleSaved rule;
    MixerPast past;
    Derived derived;  // empty with selective recomputation
  };

  // `before`: the rows that convolutions see before sequences; `last` (=): those that they leave.
  void derive_rule_inputs(const Saved& s, const MixerState& before, const MixerState& last, Derived& derived,
                          const Pass& pass) const;
  void derive_output(const Saved& s, Derived& derived, const Pass& pass) const;
  // What a layer has in memory beside that of whole rows, where ranks have parts.
  struct PastMemory {
    LiveTensors rows, states;  // MixerPast
    LiveTensors exchanged;     // own and gathered states
    LiveTensors of_sequences;  // a state of each
  };
  static PastMemory past_memory(const Sizes& sizes, const PassShape& shape);

  // Collective over the context group: what s.past is, and the gradients of what it was made of.
  void take_rows(Saved& s, const Pass& pass) const;
  void take_states(Saved& s, const Derived& derived, const Pass& pass) const;
  Tensor states_gradient(const Saved& s, const kernels::GatedDeltaRuleInputs& inputs, const Tensor& d_o,
                         const Pass& pass) const;
  PartStates part_states(const Pass& pass) const;  // zeros
  // [sequences, ...] of s.past.states; undefined without parts.
  Tensor initial_states(const Saved& s, const Pass& pass) const;
  kernels::ShortConvInputs conv_inputs(const ConvPath& path, const Tensor& x, const Tensor& before,
                                       const Pass& pass) const;
  Tensor taps_gradient(const ConvPath& path) const;
  // q or k [tokens, heads, head_dim] of its projection x, and the reciprocal norms. `name` is what observers get, which
  // see it before the norm.
  Tensor unit_vectors(const ConvPath& path, std::string_view name, const Tensor& x, const Tensor& before,
                      const Tensor& last, Tensor& rstd, const Pass& pass) const;
  // Gradient of x, and of the rows before sequences where there are any (=), from that of the unit vectors.
  Tensor unit_vectors_backward(const ConvPath& path, const kernels::ShortConvInputs& inputs, const Tensor& unit,
                               const Tensor& rstd, const Tensor& dunit, const Tensor& dbefore, const Pass& pass) const;
  kernels::GatedDeltaRuleInputs rule_inputs(const Derived& derived, const Pass& pass) const;

  bool recompute_;
  Sizes sizes_;
  float o_norm_eps_, readout_scale_, beta_max_;
  ConvPath q_path_, k_path_, v_path_;
  ColumnLinear a_proj_, b_proj_, g_proj_;
  RowLinear o_proj_;
  Parameter *a_log_, *dt_bias_, *o_norm_;
};

}  // namespace mudelta
