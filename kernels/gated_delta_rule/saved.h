#pragma once

#include "kernels/gated_delta_rule/gated_delta_rule.h"

namespace mudelta::kernels {

struct GatedDeltaRuleSaved::Content {
  // The state at the start of each chunk: [chunks, value_heads, key_dim, value_dim] float32; of the chunkwise CUDA
  // kernels [slots, value_heads, value_dim, key_dim] bfloat16, or undefined.
  Tensor chunk_states;
  // Of the chunkwise CUDA kernels (cuda/launches.h):
  Tensor gates;   // [slots, value_heads, 4, 64] float32: e^c, e^{c_L - c}, beta and c of the rows of each chunk
  Tensor solve;   // [slots, value_heads, 10, 16, 16] bfloat16, T . G: blocks on and below the diagonal, row by row
  Tensor scores;  // like solve, scale (Q K^T) . G
  int segment_chunks = 0;  // chunks a segment; 0: sequences are not cut into segments, and there is nothing below
  Tensor segment_states;   // [segment slots, value_heads, key_dim, value_dim] float32, what each segment starts from
  Tensor transitions;      // [segment slots, value_heads, key_dim, key_dim] float32, of the segments in the middle
};

namespace gated_delta_rule {
using Saved = GatedDeltaRuleSaved::Content;
}

}  // namespace mudelta::kernels
