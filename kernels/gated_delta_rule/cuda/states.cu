#include "kernels/gated_delta_rule/cuda/scan.h"

// The scans for the states alone.
namespace mudelta::kernels::cuda::gated_delta_rule {

using namespace forward;

void segment_states(const GatedDeltaRuleInputs& inputs, const Saved& saved, Stream stream) {
  ScanParameters parameters = parameters_of(inputs, saved);
  parameters.initial_states = data_or_null(inputs.initial_state);
  parameters.segment_states = saved.segment_states.data<float>();
  parameters.transitions = saved.transitions.data<float>();
  run<Result::kSegmentStates>(parameters, stream);
}

void chunk_states(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& states, Stream stream) {
  run<Result::kChunkStates>(chunk_states_parameters(inputs, saved, states), stream);
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
