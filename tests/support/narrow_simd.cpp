// With MUDELTA_TEST_NARROW_SIMD set, Highway chooses no target above AVX2: what a CPU without AVX-512 would run.

#include <hwy/highway.h>
#include <hwy/targets.h>

#include <cstdlib>

namespace {

constexpr std::int64_t kWiderThanAvx2 = HWY_AVX2 - 1;  // better targets have lower bits

[[maybe_unused]] const bool narrowed = [] {
  const bool wanted = std::getenv("MUDELTA_TEST_NARROW_SIMD") != nullptr;
  if (wanted) hwy::DisableTargets(kWiderThanAvx2);
  return wanted;
}();

}  // namespace
