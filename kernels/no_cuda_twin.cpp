#include "core/error.h"
#include "kernels/cuda_twin.h"
#include "kernels/cuda_twins.h"

namespace mudelta::kernels {

template <auto kFunction>
decltype(kFunction) cuda_twin() {
  fail("there is no GPU: mudelta was built without CUDA");
}
#define MUDELTA_INSTANTIATE(name) template decltype(&name) cuda_twin<&name>();
MUDELTA_CUDA_TWINS(MUDELTA_INSTANTIATE)
#undef MUDELTA_INSTANTIATE

}  // namespace mudelta::kernels
