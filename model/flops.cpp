#include "model/flops.h"

#include "model/block.h"

namespace mudelta {

FlopsPerToken flops_per_token(const ModelConfig& c) {
  const FlopsPerToken block = Block::flops(Block::sizes(c));
  const FlopsPerToken head{.matrices = 2 * static_cast<double>(c.width()) * static_cast<double>(c.vocab_size())};
  return static_cast<double>(c.layers()) * block + head;
}

}  // namespace mudelta
