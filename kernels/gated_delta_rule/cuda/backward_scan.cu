#include "kernels/gated_delta_rule/cuda/backward_scan.h"

#include "kernels/gated_delta_rule/cuda/memory.h"

namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

using namespace backward;

template <int kKeyDim, int kWarps, Result kResult>
__global__ void __launch_bounds__(kWarps* kWarpSize, kWarps == 4 && kKeyDim == 64 ? 3 : 0)
    backward_scan_kernel(const BackwardScanParameters p) {
  scan_segment<kKeyDim, kWarps, kResult>(p, static_cast<int>(blockIdx.x));
}

template <Result kResult>
void run(const BackwardScanParameters& p, Stream stream, Slabs slabs = Slabs::kChosen) {
  const std::int64_t states = static_cast<std::int64_t>(p.sizes.segment_slots(p.segment_rows)) * p.sizes.value_heads;
  dispatch_key_dim(p.sizes.key_dim, [&]<int kKeyDim>() {
    const auto run_with = [&]<int kWarps>() {
      using Stage = Stage<kKeyDim, kWarps>;
      const dim3 grid(static_cast<unsigned>(states * divide_up(p.sizes.value_dim, Stage::kSlab)));
      launch(backward_scan_kernel<kKeyDim, kWarps, kResult>, grid, Stage::kThreads, shared_bytes<kKeyDim, kWarps>(),
             stream, p);
    };
    if constexpr ((kKeyDim == 64 || kKeyDim == 128) && kResult == Result::kGradients) {
      if (are_wide(slabs, states, p.sizes.value_dim, this_gpu().multiprocessors)) {
        return run_with.template operator()<8>();
      }
    }
    run_with.template operator()<4>();
  });
}

}  // namespace

void segment_dstates(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o,
                     const Tensor& dfinal_state, const Tensor& dsegments, Stream stream) {
  BackwardScanParameters parameters = parameters_of(inputs, saved, d_o, dfinal_state);
  parameters.dsegments = dsegments.data<float>();
  run<Result::kSegments>(parameters, stream);
}

void backward_scan(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o,
                   const Tensor& dfinal_state, const Tensor& dstates, const Tensor& dy, const Tensor& dinitial_state,
                   Stream stream, Slabs slabs) {
  run<Result::kGradients>(gradients_parameters(inputs, saved, d_o, dfinal_state, dstates, dy, dinitial_state), stream,
                          slabs);
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
