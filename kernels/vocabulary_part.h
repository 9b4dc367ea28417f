#pragma once

#include <cstdint>
#include <functional>

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// Which tokens the rows of a vocabulary's matrix stand for: begin, begin + 1, ...; by default all there are.
struct VocabularyPart {
  std::int64_t begin = 0;
  std::int64_t vocab = 0;  // tokens of the whole vocabulary; 0: the matrix has a row for each
};

// Replace a float32 tensor by its maximum, or sum, over all parts of a vocabulary, element by element.
struct OverParts {
  std::function<void(const Tensor&tensor, Stream stream)> max, sum;
};

}  // namespace mudelta::kernels
