#include "launch/train/role_norms.h"

#include <algorithm>
#include <cmath>

#include "kernels/reduce.h"

namespace mudelta {
namespace {

constexpr std::int64_t kNumRoles = static_cast<std::int64_t>(Role::kNorm) + 1;

}  // namespace

std::vector<RoleNorms> role_norms(const ParameterStore& store, std::span<const OptimizerSegment> segments,
                                  const ProcessGroup& world, Stream stream) {
  const Tensor sums = Tensor::zeros({2 * kNumRoles}, DType::kFloat64, stream.device());  // gradients, then weights
  for (const OptimizerSegment& segment : segments) {
    if (!segment.is_own) continue;
    const Parameter& parameter = store.parameters()[segment.parameter];
    const auto role = static_cast<std::int64_t>(parameter.spec.role);
    const Tensor weight = segment.state[0].second;
    const double share = 1.0 / parameter.part.copies;
    kernels::add_sum_of_squares(segment.gradient, share, sums.slice(role, role + 1), stream);
    kernels::add_sum_of_squares(weight, share, sums.slice(kNumRoles + role, kNumRoles + role + 1), stream);
  }
  const Tensor totals = sums.to(Device());
  world.all_reduce(totals, ReduceOp::kSum, Stream());

  std::vector<RoleNorms> norms;
  for (std::int64_t role = 0; role < kNumRoles; ++role) {
    const auto has_role = [&](const Parameter& p) { return static_cast<std::int64_t>(p.spec.role) == role; };
    if (std::ranges::none_of(store.parameters(), has_role)) continue;
    const auto square_sums = totals.span<double>();
    norms.push_back({.role = static_cast<Role>(role),
                     .gradient = std::sqrt(square_sums[static_cast<std::size_t>(role)]),
                     .weight = std::sqrt(square_sums[static_cast<std::size_t>(kNumRoles + role)])});
  }
  return norms;
}

}  // namespace mudelta
