#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// Depthwise causal convolution followed by SiLU, along packed sequences:
//   z[t, c] = sum_j weight[c, j] x[t - (taps - 1) + j, c],   y = z * sigmoid(z)
// Rows before the start of a sequence come from its initial state, or are zero.
struct ShortConvInputs {
  Tensor x;              // [tokens, channels], float32 or bfloat16
  Tensor weight;         // [channels, taps] float32; the last tap multiplies the current token
  Tensor cu_seqlens;     // [sequences + 1] int32, from 0 to tokens; empty sequences are allowed
  Tensor initial_state;  // [sequences, taps - 1, channels] float32, the rows before the first; undefined: zero
};

// y [tokens, channels] (=), dtype of x; must not be x itself.
// final_state [sequences, taps - 1, channels] float32 (=): the last taps - 1 rows of x (reaching into the initial
// state where a sequence is shorter); may be undefined; may be the initial state itself.
void short_conv_forward(const ShortConvInputs& inputs, const Tensor& y, const Tensor& final_state, Stream stream);

struct ShortConvGradients {
  Tensor dx;              // [tokens, channels] (=), dtype of x; must be neither x nor dy
  Tensor dweight;         // [channels, taps] float32 (+=)
  Tensor dinitial_state;  // [sequences, taps - 1, channels] float32 (=); may be undefined
};

// The pre-activation is recomputed.
void short_conv_backward(const ShortConvInputs& inputs, const Tensor& dy, const ShortConvGradients& gradients,
                         Stream stream);

// The same followed by an L2 norm over the channels of each head (kernels/l2_norm.h), in one pass over memory where
// heads have up to kMaxFusedHeadDim channels and kernels up to kMaxFusedTaps taps:
//   s = z sigmoid(z),   y = s rstd,   rstd = (sum of s^2 over the head + eps)^{-1/2}
// y [tokens, heads, head_dim] (=), heads x head_dim = channels; rstd [tokens, heads] float32 (=). The rest as above.
constexpr std::int64_t kMaxFusedHeadDim = 256, kMaxFusedTaps = 4;
void short_conv_l2_norm_forward(const ShortConvInputs& inputs, float eps, const Tensor& y, const Tensor& rstd,
                                const Tensor& final_state, Stream stream);

// y and rstd are the forward pass's; dy as y.
void short_conv_l2_norm_backward(const ShortConvInputs& inputs, const Tensor& y, const Tensor& rstd, const Tensor& dy,
                                 const ShortConvGradients& gradients, Stream stream);

}  // namespace mudelta::kernels
