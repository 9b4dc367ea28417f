#include <algorithm>
#include <cstdint>

#include "core/divide_up.h"
#include "kernels/gated_delta_rule/cuda/launches.h"

namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

// What a pass forward and one backward cost, in steps of `scan` over one chunk of 64 value columns, with every sequence
// (all count as equally long, since the host does not know their lengths) in so many segments. Instructions of the
// kernels give the cost of a step of each; it has not been measured.
class SegmentCost {
 public:
  SegmentCost(const KernelSizes& sizes, std::int64_t chunks, int multiprocessors)
      : heads_(static_cast<std::int64_t>(sizes.sequences) * sizes.value_heads),
        value_slabs_(divide_up(sizes.value_dim, kSlab)),
        key_slabs_(divide_up(sizes.key_dim, kSlab)),
        chunks_(chunks),
        multiprocessors_(multiprocessors) {}

  double of(std::int64_t segments) const {
    constexpr double kSegmentStep = 0.45, kBackwardStep = 0.8, kSegmentBackwardStep = 0.6;
    constexpr double kCarry = 0.8, kLaunches = 2;  // of a state to the next segment; of two launches more a pass
    const auto chunks = static_cast<double>(divide_up(chunks_, segments));
    const double scans = chunks * waves(segments * value_slabs_) * (1 + kBackwardStep);
    if (segments == 1) return scans;
    const std::int64_t middle = segments - 2;
    const double states = chunks * waves((segments - 1) * value_slabs_ + middle * key_slabs_) * kSegmentStep;
    const double dstates = chunks * waves((segments - 1) * value_slabs_) * kSegmentBackwardStep;
    return scans + states + dstates + 2 * (static_cast<double>(middle) * kCarry + kLaunches);
  }

 private:
  static constexpr std::int64_t kSlab = 64;

  // Of blocks with a slab each of every value head: side by side while each has a multiprocessor, else two on each, or
  // one of twice the width.
  double waves(std::int64_t slabs) const {
    constexpr double kPair = 1.3;  // what two take of one's time
    const std::int64_t blocks = heads_ * slabs;
    return blocks <= multiprocessors_ ? 1 : kPair * static_cast<double>(divide_up(blocks, 2 * multiprocessors_));
  }

  std::int64_t heads_, value_slabs_, key_slabs_, chunks_;
  int multiprocessors_;
};

}  // namespace

int choose_segment_chunks(const KernelSizes& sizes, int multiprocessors) {
  constexpr std::int64_t kLeastChunks = 32, kLeastSegmentChunks = 4;
  constexpr double kWorthIt = 0.9;  // segments take memory, and the costs are no more exact
  if (sizes.sequences == 0) return 0;
  const std::int64_t chunks = divide_up(sizes.tokens, static_cast<std::int64_t>(kChunk) * sizes.sequences);
  if (chunks < kLeastChunks) return 0;
  const SegmentCost cost(sizes, chunks, multiprocessors);
  std::int64_t best = 1;
  // More segments than fill all multiprocessors twice gain nothing.
  const std::int64_t most = std::min<std::int64_t>(2 * multiprocessors, chunks / kLeastSegmentChunks);
  for (std::int64_t segments = 2; segments <= most; ++segments) {
    if (cost.of(segments) < cost.of(best)) best = segments;
  }
  const bool is_worth_it = cost.of(best) < kWorthIt * cost.of(1);
  return is_worth_it ? static_cast<int>(divide_up(chunks, best)) : 0;
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
