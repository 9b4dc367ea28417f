#include "kernels/gated_delta_rule/cuda/scan.h"

namespace mudelta::kernels::cuda::gated_delta_rule {

using namespace forward;

void scan(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& o, const Tensor& final_state,
          Stream stream, Slabs slabs) {
  ScanParameters parameters = parameters_of(inputs, saved);
  parameters.o = o.data<bfloat16>();
  parameters.final_states = data_or_null(final_state);
  if (!saved.chunk_states.defined()) return run<Result::kOutput>(parameters, stream, slabs);
  parameters.chunk_states = saved.chunk_states.data<bfloat16>();
  run<Result::kOutputAndChunkStates>(parameters, stream, slabs);
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
