#pragma once

#include "core/device.h"
#include "core/live_tensors.h"
#include "core/tensor.h"
#include "kernels/vocabulary_part.h"

namespace mudelta::kernels {

// The language-model head fused with its loss: logits = logit_multiplier * hidden weight^T, loss = -log softmax at
// the target. Logits exist only for a block of tokens at a time (in float32), never for the whole batch.
// With a part of the vocabulary, the parts' owners call the ops together: each gets the whole losses and logits of its
// part; `over_parts` is called for each block of tokens, alike in all of them.
struct CrossEntropyInputs {
  Tensor hidden;  // [tokens, width], float32 or bfloat16
  Tensor weight;  // [rows, width], dtype of hidden
  Tensor
      targets;  // [tokens] int32; -1: not counted (loss 0, no gradient); throws Error if another is outside [0, vocab)
  float logit_multiplier = 1.0f;
  VocabularyPart part = {};
  OverParts over_parts = {};  // if the part is not the whole
};

// losses [tokens] float32 (=), in nats.
void cross_entropy_forward(const CrossEntropyInputs& inputs, const Tensor& losses, Stream stream);

// As forward, and the gradients of gradient_scale * sum(losses): dhidden [tokens, width] (=), dtype of hidden, of a
// part what its logits contribute; dweight [rows, width] float32 (+=).
void cross_entropy_forward_backward(const CrossEntropyInputs& inputs, float gradient_scale, const Tensor& losses,
                                    const Tensor& dhidden, const Tensor& dweight, Stream stream);

// What either allocates at most while it runs on such inputs, with `rows` of a vocabulary of `vocab`.
LiveTensors cross_entropy_workspace(std::int64_t tokens, std::int64_t vocab, std::int64_t rows, std::int64_t width,
                                    DType dtype, Device device);

}  // namespace mudelta::kernels
