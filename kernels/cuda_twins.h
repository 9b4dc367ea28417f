#pragma once

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "kernels/gated_delta_rule/row_parts.h"
#include "kernels/gates.h"
#include "kernels/l2_norm.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "kernels/rms_norm.h"
#include "kernels/row_edges.h"
#include "kernels/short_conv.h"
#include "kernels/short_conv_halo.h"
#include "kernels/swiglu.h"

// X(name) for every function of this room that has a CUDA twin. For the definitions of cuda_twin alone.
#define MUDELTA_CUDA_TWINS(X)       \
  X(add_to)                         \
  X(scale)                          \
  X(convert)                        \
  X(add_sum)                        \
  X(add_sum_of_squares)             \
  X(embedding_forward)              \
  X(embedding_backward)             \
  X(swiglu_forward)                 \
  X(swiglu_backward)                \
  X(l2_norm_forward)                \
  X(l2_norm_backward)               \
  X(rms_norm_forward)               \
  X(rms_norm_backward)              \
  X(gated_rms_norm_forward)         \
  X(gated_rms_norm_backward)        \
  X(gates_forward)                  \
  X(gates_backward)                 \
  X(short_conv_forward)             \
  X(short_conv_backward)            \
  X(short_conv_l2_norm_forward)     \
  X(short_conv_l2_norm_backward)    \
  X(gated_delta_rule_forward)       \
  X(gated_delta_rule_backward)      \
  X(row_part_states)                \
  X(row_part_dstates)               \
  X(add_carried_states)             \
  X(put_at_edges)                   \
  X(take_from_edges)                \
  X(take_tails)                     \
  X(initial_state_from_tails)       \
  X(take_head_gradients)            \
  X(add_head_gradients)             \
  X(cross_entropy_forward)          \
  X(cross_entropy_forward_backward) \
  X(adamw_update)                   \
  X(sgd_update)
