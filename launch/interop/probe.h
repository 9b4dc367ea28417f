#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor.h"
#include "launch/train/weight_source.h"

namespace mudelta {

// Logits [tokens, vocab] float32 of the model of `weights` on a text of `tokens` tokens that is always the same, with
// `o_norm_eps`, computed in `compute_dtype` on the CPU. Throws Error on a model that does not fit into memory (naming
// `option`, which sets `tokens`), and on logits that are not finite.
Tensor probe_logits(const WeightSource& weights, double o_norm_eps, DType compute_dtype, std::int64_t tokens,
                    std::string_view option);

// Of elements of float32 tensors of one shape.
double largest(const Tensor& a);
double largest_difference(const Tensor& a, const Tensor& b);

}  // namespace mudelta
