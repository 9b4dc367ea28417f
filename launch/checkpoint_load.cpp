#include <string>

#include "core/error.h"
#include "launch/agreement.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_model.h"

namespace mudelta {

TrainingState load_checkpoint(const CheckpointReader& checkpoint, const CheckpointContext& context,
                              Optimizer& optimizer, const ProcessGroup& group, Stream stream) {
  run_or_fail_together(group, [&] {
    check_model(checkpoint, context);
    for (const OptimizerSegment& segment : optimizer.segments()) {
      const std::string& name = context.store.parameters()[segment.parameter].spec.name;
      for (const auto& [state, tensor] : segment.state) {
        const Tensor read = tensor.device().is_cuda() ? Tensor::empty(tensor.shape()) : tensor;
        checkpoint.read(name, state, segment.begin, read.span<float>());
        if (tensor.device().is_cuda()) tensor.copy_from(read);
      }
    }
  });
  optimizer.state_loaded(checkpoint.manifest().optimizer_updates(), stream);
  return checkpoint.manifest().state();
}

void load_weights(const CheckpointReader& checkpoint, ParameterStore& store) {
  check_parameters(checkpoint, store);
  for (const Parameter& parameter : store.parameters()) {
    Tensor weight = Tensor::empty(parameter.spec.shape);
    checkpoint.read(parameter.spec.name, "weight", 0, weight.span<float>());
    parameter.value.copy_from(weight.to(parameter.value.dtype()));
  }
}

}  // namespace mudelta
