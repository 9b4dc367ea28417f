#include "optim/initialization.h"

namespace mudelta {
namespace {

// `drawn`: float32 elements of this rank's part of the parameter from `begin` on.
void draw(const Parameter& parameter, std::uint64_t seed, double spread, std::int64_t begin, const Tensor& drawn) {
  const SliceMap map = parameter.slice_map();
  const bool on_host = !drawn.device().is_cuda();
  const Tensor host = on_host ? drawn : Tensor::empty(drawn.shape());
  const auto values = host.span<float>();
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t index = map.whole_index(begin + static_cast<std::int64_t>(i));
    values[i] = static_cast<float>(initial_value(parameter.spec, seed, spread, index));
  }
  if (!on_host) drawn.copy_from(host);
}

}  // namespace

void initialize(const ParameterStore& store, Optimizer& optimizer, const Parametrization& parametrization,
                std::uint64_t seed, Stream stream) {
  const auto& scaling = parametrization.scaling();
  for (const OptimizerSegment& segment : optimizer.segments()) {
    draw(store.parameters()[segment.parameter], seed, scaling[segment.parameter].init, segment.begin,
         segment.state[0].second);
  }
  optimizer.state_loaded(0, stream);
}

}  // namespace mudelta
