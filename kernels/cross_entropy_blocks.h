#pragma once

#include <algorithm>
#include <cstdint>

#include "core/divide_up.h"
#include "core/gemm.h"
#include "kernels/check.h"
#include "kernels/cross_entropy.h"

// What the CPU and the CUDA code of the fused cross entropy share: its blocks of tokens.
namespace mudelta::kernels {

inline bool is_whole(const CrossEntropyInputs& inputs) {
  return inputs.weight.size(0) == vocab_of(inputs.part, inputs.weight.size(0));
}

// Tokens whose logits are in memory at a time. On a CPU few enough for the cache, yet so many that reading the weight
// once a block does not outweigh the products. On a GPU as many as 256 MiB hold, for each block reads the weight and
// reads and writes its gradient; with 2048 tokens that takes little next to the products.
inline std::int64_t block_tokens(std::int64_t tokens, std::int64_t vocab, Device device) {
  vocab = std::max<std::int64_t>(vocab, 1);
  if (!device.is_cuda()) {
    constexpr std::int64_t kLogits = std::int64_t{1} << 20, kMinTokens = 256;
    const std::int64_t blocks = divide_up(tokens, std::max(kLogits / vocab, kMinTokens));
    return divide_up(tokens, std::max<std::int64_t>(blocks, 1));
  }
  constexpr std::int64_t kLogits = std::int64_t{1} << 26, kMaxTokens = 2048;
  constexpr std::int64_t kMultiple = 64;  // suits the tiles of matrix products
  const std::int64_t held = kLogits / vocab / kMultiple * kMultiple;
  const std::int64_t blocks = divide_up(tokens, std::clamp(held, kMultiple, kMaxTokens));
  return std::min(divide_up(divide_up(tokens, std::max<std::int64_t>(blocks, 1)), kMultiple) * kMultiple, tokens);
}

// body(begin, end, logits) for each block of tokens; logits [end - begin, rows] come without the multiplier.
template <class Body>
void for_each_block(const CrossEntropyInputs& inputs, Stream stream, const Body& body) {
  const std::int64_t tokens = inputs.hidden.size(0), rows = inputs.weight.size(0);
  const Device device = inputs.hidden.device();
  const std::int64_t step = block_tokens(tokens, vocab_of(inputs.part, rows), device);  // the same in all parts
  const Tensor buffer = Tensor::empty(Shape{step, rows}, DType::kFloat32, device);
  for (std::int64_t begin = 0; begin < tokens; begin += step) {
    const std::int64_t end = std::min(begin + step, tokens);
    const Tensor logits = buffer.slice(0, end - begin);
    gemm(inputs.hidden.slice(begin, end), inputs.weight, logits, {.transpose_b = true}, stream);
    body(begin, end, logits);
  }
}

}  // namespace mudelta::kernels
