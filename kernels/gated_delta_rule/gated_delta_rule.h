#pragma once

#include <memory>

#include "core/device.h"
#include "core/tensor.h"

// The gated delta rule (Yang, Kautz, Hatamizadeh, "Gated Delta Networks", arXiv 2412.06464). Per value head, with the
// state S [key_dim, value_dim] in float32:
//   S_t = e^{g_t} S_{t-1} + k_t beta_t (v_t - (e^{g_t} S_{t-1})^T k_t)^T,    o_t = scale S_t^T q_t
// Sequences are packed one after another along `tokens`; each starts from its initial state. Value head h reads the
// q and k of head h / (value_heads / heads) (grouped value attention).
namespace mudelta::kernels {

struct GatedDeltaRuleInputs {
  Tensor q;              // [tokens, heads, key_dim], float32 or bfloat16
  Tensor k;              // as q; rows with |k| <= 1 keep the state bounded (for beta <= 2)
  Tensor v;              // [tokens, value_heads, value_dim], dtype of q; value_heads a multiple of heads
  Tensor g;              // [tokens, value_heads] float32, natural logarithm of the decay, <= 0
  Tensor beta;           // [tokens, value_heads] float32, in [0, 2]
  Tensor cu_seqlens;     // [sequences + 1] int32, non-decreasing, from 0 to tokens; empty sequences are allowed
  Tensor initial_state;  // [sequences, value_heads, key_dim, value_dim] float32; undefined: zero
  float scale = 1.0f;
};

// What a forward pass leaves for the backward pass. Copies share it.
struct GatedDeltaRuleSaved {
  // The caller's wish: keep the states of the chunks also where the backward pass can compute them again (the chunkwise
  // CUDA kernels; they take key_dim value_dim / 32 bytes a token and value head).
  bool keep_states = true;

  struct Content;                    // the implementation's (saved.h)
  std::shared_ptr<Content> content;  // null before a forward pass
};

enum class GatedDeltaRuleAlgorithm {
  kAuto,       // the faster one for the shape
  kRecurrent,  // token by token; the only one for a handful of tokens, and the oracle of the other
  kChunkwise,  // blocks of tokens as small matrix products
};

// o [tokens, value_heads, value_dim] (=), dtype of v.
// final_state [sequences, value_heads, key_dim, value_dim] float32 (=), may be undefined; it may be the very tensor
// given as initial_state. `saved` may be null: then nothing is kept for a backward pass.
// Throws Error on shapes or dtypes that do not fit.
void gated_delta_rule_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state,
                              GatedDeltaRuleSaved* saved, GatedDeltaRuleAlgorithm algorithm, Stream stream);

// All written (=). dq, dk, dv: dtype of q; summed over the value heads that share a head. dg, dbeta: float32.
// dinitial_state may be undefined.
struct GatedDeltaRuleGradients {
  Tensor dq, dk, dv, dg, dbeta, dinitial_state;
};

// d_o: gradient of o. dfinal_state: gradient of final_state, undefined for zero.
// `saved` comes from the forward pass over the same inputs.
void gated_delta_rule_backward(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& d_o,
                               const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients, Stream stream);

}  // namespace mudelta::kernels
