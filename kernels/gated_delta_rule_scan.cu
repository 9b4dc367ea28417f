#include "kernels/cuda/gated_delta_rule_scan.h"

namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

using namespace forward;

// Of narrow keys a multiprocessor of sm_90 has the shared memory for three blocks of 4 warps: they get the registers.
template <int kKeyDim, int kWarps, Result kResult>
__global__ void __launch_bounds__(kWarps* kWarpSize, kWarps == 4 && kKeyDim <= 64 ? 3 : 1)
    scan_kernel(const Parameters p) {
  scan_segment<kKeyDim, kWarps, kResult>(p, static_cast<int>(blockIdx.x));
}

template <Result kResult>
void run(const Parameters& p, Stream stream) {
  const std::int64_t states = static_cast<std::int64_t>(p.sizes.segment_slots(p.segment_rows)) * p.sizes.value_heads;
  dispatch_key_dim(p.sizes.key_dim, [&]<int kKeyDim>() {
    const auto run_with = [&]<int kWarps>() {
      using Layout = ScanLayout<kKeyDim, kWarps, kResult>;
      const dim3 grid(
          static_cast<unsigned>(states * (Layout::value_slabs(p.sizes.value_dim) + Layout::kTransitionSlabs)));
      launch(scan_kernel<kKeyDim, kWarps, kResult>, grid, Layout::kThreads, Layout::kBytes, stream, p);
    };
    if constexpr ((kKeyDim == 64 || kKeyDim == 128) && kResult != Result::kSegmentStates) {
      if (choose_wide_slabs(states, p.sizes.value_dim)) return run_with.template operator()<8>();
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
  if (!saved.chunk_states.defined()) return run<Result::kOutput>(parameters, stream);
  parameters.chunk_states = saved.chunk_states.data<bfloat16>();
  run<Result::kOutputAndChunkStates>(parameters, stream);
}

void chunk_states(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& states,
                  Stream stream) {
  run<Result::kChunkStates>(chunk_states_parameters(inputs, saved, states), stream);
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
