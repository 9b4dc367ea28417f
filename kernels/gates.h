#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// The decay and the write strength of the gated delta rule:
//   g = -exp(a_log) softplus(z_a + dt_bias),   beta = beta_max sigmoid(z_b)
// z_a, z_b, g, beta [tokens, heads] float32; a_log, dt_bias [heads] float32; beta_max 1, or 2 to allow negative
// eigenvalues of the transition.
struct GateInputs {
  Tensor z_a, z_b;
  Tensor a_log, dt_bias;
  float beta_max = 1.0f;
};

// g, beta (=).
void gates_forward(const GateInputs& inputs, const Tensor& g, const Tensor& beta, Stream stream);

// dz_a, dz_b (=), may be dg and dbeta themselves; da_log, ddt_bias [heads] (+=).
struct GateGradients {
  Tensor dz_a, dz_b, da_log, ddt_bias;
};
void gates_backward(const GateInputs& inputs, const Tensor& dg, const Tensor& dbeta, const GateGradients& gradients,
                    Stream stream);

}  // namespace mudelta::kernels
