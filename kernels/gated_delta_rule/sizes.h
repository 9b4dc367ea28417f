#pragma once

#include <cstdint>

namespace mudelta::kernels::gated_delta_rule {

// Of a call.
struct Sizes {
  std::int64_t tokens, sequences, heads, value_heads, key_dim, value_dim;

  std::int64_t group() const { return value_heads / heads; }  // value heads that share a head's q and k
};

}  // namespace mudelta::kernels::gated_delta_rule
