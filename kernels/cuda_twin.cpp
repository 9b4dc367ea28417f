#include "kernels/cuda_twin.h"

#include "kernels/cuda_twins.h"

namespace mudelta::kernels {

namespace cuda {
#define MUDELTA_DECLARE(name) decltype(kernels::name) name;
MUDELTA_CUDA_TWINS(MUDELTA_DECLARE)
#undef MUDELTA_DECLARE
}  // namespace cuda

namespace {

template <auto kFunction>
constexpr decltype(kFunction) kTwin = nullptr;
#define MUDELTA_DEFINE(name) \
  template <>                \
  constexpr decltype(&name) kTwin<&name> = &cuda::name;
MUDELTA_CUDA_TWINS(MUDELTA_DEFINE)
#undef MUDELTA_DEFINE

}  // namespace

template <auto kFunction>
decltype(kFunction) cuda_twin() {
  return kTwin<kFunction>;
}
#define MUDELTA_INSTANTIATE(name) template decltype(&name) cuda_twin<&name>();
MUDELTA_CUDA_TWINS(MUDELTA_INSTANTIATE)
#undef MUDELTA_INSTANTIATE

}  // namespace mudelta::kernels
