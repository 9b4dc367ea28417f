#include <algorithm>

#include "kernels/gated_delta_rule/cuda/backward_scan.h"
#include "kernels/gated_delta_rule/cuda/scan.h"

// chunk_states and backward_scan side by side: neither reads what the other writes, and where there are few sequences
// and value heads, either alone would leave multiprocessors idle.
namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize, kSlab = kWarps * kWarpColumns;

template <int kKeyDim>
using StatesLayout = forward::ScanLayout<kKeyDim, kWarps, forward::Result::kChunkStates>;

// So many for either scan.
std::int64_t blocks_of_one(const KernelSizes& sizes, int segment_rows) {
  return static_cast<std::int64_t>(sizes.segment_slots(segment_rows)) * sizes.value_heads *
         divide_up(sizes.value_dim, kSlab);
}

// First the blocks of backward_scan, which take longer, then those of chunk_states.
template <int kKeyDim>
__global__ void __launch_bounds__(kThreads, kKeyDim == 64 ? 3 : 0)
    both_scans_kernel(const backward::BackwardScanParameters p, const forward::ScanParameters states) {
  const int block = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x) / 2;
  if (block < blocks) {
    backward::scan_segment<kKeyDim, kWarps, backward::Result::kGradients>(p, block);
  } else {
    forward::scan_segment<kKeyDim, kWarps, forward::Result::kChunkStates>(states, block - blocks);
  }
}

}  // namespace

bool choose_one_launch(const KernelSizes& sizes, int segment_rows, int multiprocessors) {
  return blocks_of_one(sizes, segment_rows) < multiprocessors;
}

void both_scans(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o, const Tensor& dfinal_state,
                const Tensor& states, const Tensor& dstates, const Tensor& dy, const Tensor& dinitial_state,
                Stream stream) {
  const auto of_gradients =
      backward::gradients_parameters(inputs, saved, d_o, dfinal_state, dstates, dy, dinitial_state);
  const auto of_states = forward::chunk_states_parameters(inputs, saved, states);
  const dim3 grid(static_cast<unsigned>(2 * blocks_of_one(of_states.sizes, of_states.segment_rows)));
  dispatch_key_dim(of_states.sizes.key_dim, [&]<int kKeyDim>() {
    static_assert(StatesLayout<kKeyDim>::kThreads == kThreads && StatesLayout<kKeyDim>::kSlab == kSlab);
    const int bytes = std::max(backward::shared_bytes<kKeyDim, kWarps>(), StatesLayout<kKeyDim>::kBytes);
    launch(both_scans_kernel<kKeyDim>, grid, kThreads, bytes, stream, of_gradients, of_states);
  });
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
