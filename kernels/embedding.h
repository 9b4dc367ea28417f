#pragma once

#include "core/device.h"
#include "core/tensor.h"
#include "kernels/vocabulary_part.h"

namespace mudelta::kernels {

// y[t] = the row of tokens[t], 0 if another part has it. table [rows, width] float32 or bfloat16; tokens [n] int32;
// y [n, width] float32 (=). Throws Error if a token is outside of the whole vocabulary.
void embedding_forward(const Tensor& table, const Tensor& tokens, const Tensor& y, Stream stream,
                       const VocabularyPart& part = {});

// The row of tokens[t] in dtable += dy[t], unless another part has it. dy [n, width] float32; dtable [rows, width]
// float32 (+=). The order of summation depends on the tokens only.
void embedding_backward(const Tensor& tokens, const Tensor& dy, const Tensor& dtable, Stream stream,
                        const VocabularyPart& part = {});

}  // namespace mudelta::kernels
