#pragma once

#include "core/device.h"
#include "core/tensor.h"

// Updates of a run of parameters with one set of hyperparameters. All tensors are flat, float32 and equally long.
namespace mudelta::kernels {

// Adam with decoupled decay (Loshchilov and Hutter, arXiv 1711.05101), with g = gradient_scale * gradient:
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//   w = w - decay w - lr (m / bias_correction1) / (sqrt(v / bias_correction2) + eps)
struct AdamWUpdate {
  Tensor weight;       // updated in place
  Tensor exp_avg;      // m, updated in place
  Tensor exp_avg_sq;   // v, updated in place
  Tensor gradient;     // read
  float gradient_scale = 1.0f;  // 1, or the clipping factor
  float lr = 0;
  float beta1 = 0.9f, beta2 = 0.95f;
  float eps = 1e-8f;
  float decay = 0;  // the whole factor: lr x weight_decay for decay that follows the learning rate
  float bias_correction1 = 1.0f;  // 1 - beta1^t
  float bias_correction2 = 1.0f;  // 1 - beta2^t
};
void adamw_update(const AdamWUpdate& update, Stream stream);

// SGD as in PyTorch (dampening 0), with g = gradient_scale * gradient:
//   w = w - decay w;   u = momentum u + g;   w = w - lr (nesterov ? g + momentum u : u)
struct SgdUpdate {
  Tensor weight;           // updated in place
  Tensor momentum_buffer;  // u, updated in place; starts as zeros
  Tensor gradient;         // read
  float gradient_scale = 1.0f;
  float lr = 0;
  float momentum = 0;
  bool nesterov = false;
  float decay = 0;
};
void sgd_update(const SgdUpdate& update, Stream stream);

// Muon's direction before it is made orthogonal, as in torch.optim.Muon, with g = gradient_scale * gradient:
//   u = momentum u + (1 - momentum) g;   direction = nesterov ? (1 - momentum) g + momentum u : u
struct MomentumUpdate {
  Tensor momentum_buffer;  // u, updated in place; starts as zeros
  Tensor gradient;         // read
  Tensor direction;        // written; may be the gradient
  float gradient_scale = 1.0f;
  float momentum = 0;
  bool nesterov = false;
};
void momentum_update(const MomentumUpdate& update, Stream stream);

// w = w - decay w - lr direction
struct DirectionUpdate {
  Tensor weight;     // updated in place
  Tensor direction;  // read
  float lr = 0;
  float decay = 0;
};
void direction_update(const DirectionUpdate& update, Stream stream);

}  // namespace mudelta::kernels
