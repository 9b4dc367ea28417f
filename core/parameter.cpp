#include "core/parameter.h"

#include <cmath>

#include "core/rng.h"

namespace mudelta {

std::string_view name_of(Role role) {
  switch (role) {
    case Role::kEmbedding: return "EMBEDDING";
    case Role::kReadout: return "READOUT";
    case Role::kHidden: return "HIDDEN";
    case Role::kGate: return "GATE";
    case Role::kGateScalar: return "GATE_SCALAR";
    case Role::kConv: return "CONV";
    case Role::kNorm: return "NORM";
  }
  return "unknown";
}

Role parse_role(std::string_view name) {
  for (const Role role : {Role::kEmbedding, Role::kReadout, Role::kHidden, Role::kGate, Role::kGateScalar, Role::kConv,
                          Role::kNorm}) {
    if (name_of(role) == name) return role;
  }
  fail("a parameter's role is {}, expected EMBEDDING, READOUT, HIDDEN, GATE, GATE_SCALAR, CONV or NORM", name);
}

double initial_value(const ParameterSpec& spec, std::uint64_t seed, double spread_multiplier, std::int64_t index) {
  const CounterRng rng(seed, spec.name);
  const auto i = static_cast<std::uint64_t>(index);
  const auto [kind, a, b] = spec.initializer;
  switch (kind) {
    case Initializer::Kind::kNormal: return spread_multiplier * a * rng.normal(i);
    case Initializer::Kind::kUniform: return spread_multiplier * (a + (b - a) * rng.uniform(i));
    case Initializer::Kind::kConstant: return a;
    case Initializer::Kind::kLogOfUniform: return std::log(a + (b - a) * rng.uniform(i));
    case Initializer::Kind::kInverseSoftplusOfLogUniform: {
      const double x = std::exp(std::log(a) + (std::log(b) - std::log(a)) * rng.uniform(i));
      return x + std::log(-std::expm1(-x));
    }
  }
  return 0;
}

}  // namespace mudelta
