#include "kernels/cuda/gated_delta_rule_scan.h"

namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

using namespace forward;

template <int kKeyDim, int kWarps, Result kResult>
__global__ void __launch_bounds__(kWarps* kWarpSize, 1) scan_kernel(const Parameters p) {
  scan_segment<kKeyDim, kWarps, kResult>(p, static_cast<int>(blockIdx.x));
}

template <Result kResult>
void run(const Parameters& p, Stream stream) {
  // A block of 8 warps shares more of the tiles that it loads and builds, but needs enough value heads to leave few
  // multiprocessors (108 on an A100, 132 on an H100) without one.
  constexpr int kEnoughBlocks = 80, kWideSlab = 8 * kWarpColumns;
  const std::int64_t states = static_cast<std::int64_t>(p.sizes.segment_slots(p.segment_rows)) * p.sizes.value_heads;
  const bool wide = states * divide_up(p.sizes.value_dim, kWideSlab) >= kEnoughBlocks && p.sizes.value_dim > 64;
  dispatch_key_dim(p.sizes.key_dim, [&]<int kKeyDim>() {
    const auto run_with = [&]<int kWarps>() {
      using Layout = ScanLayout<kKeyDim, kWarps, kResult>;
      const dim3 grid(
          static_cast<unsigned>(states * (Layout::value_slabs(p.sizes.value_dim) + Layout::kTransitionSlabs)));
      launch(scan_kernel<kKeyDim, kWarps, kResult>, grid, Layout::kThreads, Layout::kBytes, stream, p);
    };
    if constexpr ((kKeyDim == 64 || kKeyDim == 128) && kResult != Result::kSegmentStates) {
      if (wide) return run_with.template operator()<8>();
    }
    run_with.template operator()<4>();
  });
}

}  // namespace

void segment_states(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, Stream stream) {
  Parameters parameters = parameters_of(inputs, saved);
  parameters.initial_states = data_or_null(inputs.initial_state);
  parameters.segment_states = saved.segment_states.data<float>();
  parameters.transitions = saved.transitions.data<float>();
  run<Result::kSegmentStates>(parameters, stream);
}

void scan(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& o,
          const Tensor& final_state, Stream stream) {
  Parameters parameters = parameters_of(inputs, saved);
  parameters.o = o.data<bfloat16>();
  parameters.final_states = data_or_null(final_state);
  run<Result::kOutput>(parameters, stream);
}

void chunk_states(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& states,
                  Stream stream) {
  run<Result::kChunkStates>(chunk_states_parameters(inputs, saved, states), stream);
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
