#include "launch/checkpoint/checkpoint_load.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/job/agreement.h"

namespace mudelta {
namespace {

void require_finite(const std::filesystem::path& checkpoint, const Parameter& parameter, std::span<float> weights) {
  const auto wrong = std::ranges::find_if_not(weights, [](float x) { return std::isfinite(x); });
  if (wrong == weights.end()) return;
  fail("{}: element {} of {} is {}, expected finite weights", checkpoint.string(),
       parameter.slice_map().whole_index(wrong - weights.begin()), parameter.spec.name, *wrong);
}

void read_state(const CheckpointReader& checkpoint, const ParameterStore& store, Optimizer& optimizer) {
  for (const OptimizerSegment& segment : optimizer.segments()) {
    const Parameter& parameter = store.parameters()[segment.parameter];
    for (const auto& [state, tensor] : segment.state) {
      const Tensor read = tensor.device().is_cuda() ? Tensor::empty(tensor.shape()) : tensor;
      checkpoint.read(parameter.spec.name, state, parameter.part.slice, segment.begin, read.span<float>());
      if (tensor.device().is_cuda()) tensor.copy_from(read);
    }
  }
}

// `damage` is what all ranks have; the first one looks for a checkpoint that is sound.
void fail_with_advice(const Error& damage, const std::filesystem::path& checkpoint, const ProcessGroup& group) {
  std::string message;
  run_or_fail_together(group, [&] {
    if (group.rank() == 0) message = with_advice(damage.what(), checkpoint);
  });
  message = group.all_gather(message).front();
  run_or_fail_together(group, [&] { fail("{}", message); });
}

}  // namespace

TrainingState load_checkpoint(const CheckpointReader& checkpoint, const CheckpointContext& context,
                              Optimizer& optimizer, const ProcessGroup& group, Stream stream) {
  run_or_fail_together(group, [&] { check_model(checkpoint, context); });
  try {
    run_or_fail_together(group, [&] { read_state(checkpoint, context.store, optimizer); });
  } catch (const Error& damage) {
    fail_with_advice(damage, checkpoint.folder(), group);
  }
  optimizer.state_loaded(checkpoint.manifest().optimizer_updates(), stream);
  return checkpoint.manifest().state();
}

void load_weights(const CheckpointReader& checkpoint, ParameterStore& store) {
  check_parameters(checkpoint, specs_of(store));
  for (const Parameter& parameter : store.parameters()) {
    const Tensor weight = Tensor::empty(parameter.value.shape());
    try {
      checkpoint.read(parameter.spec.name, "weight", parameter.part.slice, 0, weight.span<float>());
    } catch (const Error& damage) {
      fail("{}", with_advice(damage.what(), checkpoint.folder()));
    }
    require_finite(checkpoint.folder(), parameter, weight.span<float>());
    parameter.value.copy_from(weight.to(parameter.value.dtype()));
  }
}

}  // namespace mudelta
