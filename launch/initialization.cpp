#include "launch/initialization.h"

namespace mudelta {

void initialize(ParameterStore& store, const Parametrization& parametrization, std::uint64_t seed) {
  for (std::size_t i = 0; i < store.parameters().size(); ++i) {
    const Parameter& parameter = store.parameters()[i];
    const double spread = parametrization.scaling()[i].init;
    const bool on_host = !parameter.value.device().is_cuda();
    const Tensor drawn = on_host ? parameter.value : Tensor::empty(parameter.spec.shape, parameter.value.dtype());
    dispatch_float(drawn.dtype(), [&]<class T>() {
      const auto values = drawn.span<T>();
#pragma omp parallel for schedule(static)
      for (std::size_t j = 0; j < values.size(); ++j) {
        values[j] = static_cast<T>(
            static_cast<float>(initial_value(parameter.spec, seed, spread, static_cast<std::int64_t>(j))));
      }
    });
    if (!on_host) parameter.value.copy_from(drawn);
  }
}

}  // namespace mudelta
