#include "model/flops.h"

#include "model/config.h"

namespace mudelta {

FlopsPerToken flops_per_token(const ModelConfig& c) {
  const auto width = static_cast<double>(c.width());
  const auto layers = static_cast<double>(c.layers());
  const auto value_heads = static_cast<double>(c.value_heads());
  const auto key_size = static_cast<double>(c.heads() * c.head_dim());
  const double value_size = value_heads * static_cast<double>(value_dim(c));
  const double mixer = width * (2 * key_size + 3 * value_size + 2 * value_heads);
  const double mlp = 3 * width * static_cast<double>(c.mlp_size());
  const double head = width * static_cast<double>(c.vocab_size());
  return {.matrices = 2 * (layers * (mixer + mlp) + head),
          .recurrence = layers * 7 * value_size * static_cast<double>(c.head_dim())};
}

}  // namespace mudelta
