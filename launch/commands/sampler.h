#pragma once

#include <cstdint>
#include <span>

namespace mudelta {

struct SamplingOptions {
  double temperature = 1.0;  // 0: always the most likely token
  std::int64_t top_k = 0;    // keep the k most likely tokens; 0: all
  double top_p = 1.0;        // then keep the fewest of them whose probability reaches p
  std::uint64_t seed = 1;
};

// Throws Error naming the option that makes no sense.
void validate(const SamplingOptions& options);

// The token drawn at position `index` of a text. Ties are broken towards the smaller id.
std::int32_t sample(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index);

}  // namespace mudelta
