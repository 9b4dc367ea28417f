#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "kernels/vocabulary_part.h"
#include "tests/support/compare.h"

namespace mudelta::testing {

// The bounds of `num_parts` parts of a vocabulary, some of them larger than others: part p is [bounds[p], bounds[p +
// 1]).
inline std::vector<std::int64_t> part_bounds(std::int64_t vocab, int num_parts) {
  std::vector<std::int64_t> bounds;
  for (int p = 0; p <= num_parts; ++p) bounds.push_back(vocab * p / num_parts);
  return bounds;
}

// Calls `op(p, over_parts)` for each part as their owners would together, though one after another: again and again,
// each time with one more join known. What the last call of each leaves is what counts.
inline void run_parts(int num_parts, const std::function<void(int part, const kernels::OverParts&)>& op) {
  std::vector<std::vector<float>> joined;
  for (bool again = true; again;) {
    again = false;
    std::vector<float> next;
    for (int part = 0; part < num_parts; ++part) {
      std::size_t call = 0;
      const auto join = [&](const Tensor& tensor, auto combine) {
        if (call < joined.size()) {
          tensor.copy_from(Tensor::from(joined[call], tensor.shape()));
        } else if (call == joined.size()) {
          again = true;
          const Tensor host = tensor.to(Device());
          const auto own = host.span<float>();
          if (part == 0) next.assign(own.begin(), own.end());
          for (std::size_t i = 0; i < own.size(); ++i) next[i] = part == 0 ? own[i] : combine(next[i], own[i]);
        }
        ++call;
      };
      op(part, {[&](const Tensor& t, Stream) { join(t, [](float a, float b) { return std::max(a, b); }); },
                [&](const Tensor& t, Stream) { join(t, [](float a, float b) { return a + b; }); }});
    }
    if (again) joined.push_back(next);
  }
}

}  // namespace mudelta::testing
