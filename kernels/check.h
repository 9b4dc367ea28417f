#pragma once

#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "core/tensor.h"
#include "kernels/vocabulary_part.h"

// Checks shared by the public functions of this room. Messages read
// "[swiglu_forward] up: expected bfloat16[4, 8], got float32[4, 7]". The host cannot see what a tensor on a GPU holds:
// there, values inside tensors are not checked.
namespace mudelta::kernels {

// Throws Error unless `tensor` has this shape and dtype.
inline void expect_tensor(std::string_view op, std::string_view name, const Tensor& tensor, const Shape& shape,
                          DType dtype) {
  if (tensor.defined() && tensor.shape() == shape && tensor.dtype() == dtype) return;
  fail("[{}] {}: expected {}{}, got {}", op, name, name_of(dtype), shape.to_string(), tensor.to_string());
}

inline bool is_floating(const Tensor& tensor) {
  return tensor.defined() && (tensor.dtype() == DType::kFloat32 || tensor.dtype() == DType::kBFloat16);
}

// Throws Error unless `tensor` is float32 or bfloat16.
inline void expect_floating(std::string_view op, std::string_view name, const Tensor& tensor) {
  if (is_floating(tensor)) return;
  fail("[{}] {}: expected float32 or bfloat16, got {}", op, name, tensor.to_string());
}

// Throws Error unless `tensor` has two dimensions, named by `layout` ("[rows, dim]"), and is float32 or bfloat16.
inline void expect_floating_matrix(std::string_view op, std::string_view name, const Tensor& tensor,
                                   std::string_view layout) {
  if (is_floating(tensor) && tensor.shape().rank() == 2) return;
  fail("[{}] {}: expected float32 or bfloat16 {}, got {}", op, name, layout, tensor.to_string());
}

// Throws Error unless `tensor` is float32 with two dimensions, named by `layout`.
inline void expect_float32_matrix(std::string_view op, std::string_view name, const Tensor& tensor,
                                  std::string_view layout) {
  if (tensor.defined() && tensor.dtype() == DType::kFloat32 && tensor.shape().rank() == 2) return;
  fail("[{}] {}: expected float32 {}, got {}", op, name, layout, tensor.to_string());
}

// Throws Error unless `cu_seqlens` [sequences + 1] int32 rises from 0 to `tokens` without falling anywhere.
inline void expect_cu_seqlens(std::string_view op, const Tensor& cu_seqlens, std::int64_t tokens) {
  if (!cu_seqlens.defined() || cu_seqlens.dtype() != DType::kInt32 || cu_seqlens.shape().rank() != 1 ||
      cu_seqlens.size(0) < 1) {
    fail("[{}] cu_seqlens: expected int32 [sequences + 1], got {}", op, cu_seqlens.to_string());
  }
  if (cu_seqlens.device().is_cuda()) return;
  const auto bounds = cu_seqlens.span<std::int32_t>();
  require(bounds.front() == 0 && bounds.back() == tokens,
          "[{}] cu_seqlens: expected to go from 0 to {} tokens, goes from {} to {}", op, tokens, bounds.front(),
          bounds.back());
  for (std::size_t i = 1; i < bounds.size(); ++i) {
    require(bounds[i - 1] <= bounds[i], "[{}] cu_seqlens: falls from {} to {} at sequence {}", op, bounds[i - 1],
            bounds[i], i - 1);
  }
}

// Throws Error unless `indices` is int32 with shape [n] and every element lies in [lowest, limit).
inline void expect_indices(std::string_view op, std::string_view name, const Tensor& indices, std::int64_t n,
                           std::int64_t lowest, std::int64_t limit) {
  expect_tensor(op, name, indices, {n}, DType::kInt32);
  if (indices.device().is_cuda()) return;
  const auto values = indices.span<std::int32_t>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    require(lowest <= values[i] && values[i] < limit, "[{}] {}: {} at position {} is outside [{}, {})", op, name,
            values[i], i, lowest, limit);
  }
}

inline std::int64_t vocab_of(const VocabularyPart& part, std::int64_t rows) {
  return part.vocab > 0 ? part.vocab : rows;
}

// Throws Error unless a matrix of `rows` rows can be this part of a vocabulary.
inline void expect_part(std::string_view op, const VocabularyPart& part, std::int64_t rows) {
  const std::int64_t vocab = vocab_of(part, rows);
  require(0 <= part.begin && part.begin <= vocab - rows, "[{}] part: {} rows from token {} on are no part of {} tokens",
          op, rows, part.begin, vocab);
}

}  // namespace mudelta::kernels
