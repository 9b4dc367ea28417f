#include "optim/initialization.h"

namespace mudelta {
namespace {

// `drawn`: elements of this rank's part of the parameter from `begin` on.
void draw(const Parameter& parameter, std::uint64_t seed, double spread, std::int64_t begin, const Tensor& drawn) {
  const SliceMap map = parameter.slice_map();
  const bool on_host = !drawn.device().is_cuda();
  const Tensor host = on_host ? drawn : Tensor::empty(drawn.shape(), drawn.dtype());
  dispatch_float(drawn.dtype(), [&]<class T>() {
    const auto values = host.span<T>();
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t index = map.whole_index(begin + static_cast<std::int64_t>(i));
      values[i] = static_cast<T>(static_cast<float>(initial_value(parameter.spec, seed, spread, index)));
    }
  });
  if (!on_host) drawn.copy_from(host);
}

}  // namespace

void initialize(ParameterStore& store, Optimizer& optimizer, const Parametrization& parametrization,
                std::uint64_t seed) {
  const auto& scaling = parametrization.scaling();
  for (std::size_t i = 0; i < store.parameters().size(); ++i) {
    const Parameter& parameter = store.parameters()[i];
    draw(parameter, seed, scaling[i].init, 0, parameter.value);
  }
  for (const OptimizerSegment& segment : optimizer.segments()) {
    const Parameter& parameter = store.parameters()[segment.parameter];
    if (parameter.value.dtype() == DType::kFloat32) continue;  // the value is the master
    draw(parameter, seed, scaling[segment.parameter].init, segment.begin, segment.state[0].second);
  }
}

}  // namespace mudelta
