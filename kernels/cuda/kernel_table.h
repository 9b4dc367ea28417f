#pragma once

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gated_delta_rule.h"
#include "kernels/gates.h"
#include "kernels/l2_norm.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "kernels/rms_norm.h"
#include "kernels/short_conv.h"
#include "kernels/swiglu.h"

// Every function of this room that has a CUDA twin of the same name and contract in namespace cuda (NAME.cu). The public
// function checks its arguments and then calls the twin for tensors on a GPU. Values inside device tensors (tokens,
// targets, cu_seqlens) are not checked there: whoever made them on the host has.
#define MUDELTA_CUDA_KERNELS(X)                                  \
  X(add_to)                                                      \
  X(scale)                                                       \
  X(convert)                                                     \
  X(add_sum)                                                     \
  X(add_sum_of_squares)                                          \
  X(embedding_forward)                                           \
  X(embedding_backward)                                          \
  X(swiglu_forward)                                              \
  X(swiglu_backward)                                             \
  X(l2_norm_forward)                                             \
  X(l2_norm_backward)                                            \
  X(rms_norm_forward)                                            \
  X(rms_norm_backward)                                           \
  X(gated_rms_norm_forward)                                      \
  X(gated_rms_norm_backward)                                     \
  X(gates_forward)                                               \
  X(gates_backward)                                              \
  X(short_conv_forward)                                          \
  X(short_conv_backward)                                         \
  X(short_conv_l2_norm_forward)                                  \
  X(short_conv_l2_norm_backward)                                 \
  X(gated_delta_rule_forward)                                    \
  X(gated_delta_rule_backward)                                   \
  X(cross_entropy_forward)                                       \
  X(cross_entropy_forward_backward)                              \
  X(adamw_update)                                                \
  X(sgd_update)

namespace mudelta::kernels::cuda {

#define MUDELTA_DECLARE_KERNEL(name) decltype(kernels::name) name;
MUDELTA_CUDA_KERNELS(MUDELTA_DECLARE_KERNEL)
#undef MUDELTA_DECLARE_KERNEL

struct KernelTable {
#define MUDELTA_KERNEL_POINTER(name) decltype(&kernels::name) name;
  MUDELTA_CUDA_KERNELS(MUDELTA_KERNEL_POINTER)
#undef MUDELTA_KERNEL_POINTER
};

// Defined by kernel_table.cpp in programs with CUDA (or the emulator), by no_kernels.cpp in others: then throws Error.
const KernelTable& kernel_table();

}  // namespace mudelta::kernels::cuda
