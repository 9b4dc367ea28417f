#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/parameter_slice.h"
#include "core/shape.h"
#include "core/tensor.h"

namespace mudelta {

// What a parameter does in the network; scaling rules are chosen by role (docs/mup.md).
enum class Role : std::uint8_t {
  kEmbedding,   // token table (also the readout when tied)
  kReadout,     // untied head
  kHidden,      // matrices whose fan-in and fan-out both grow with width
  kGate,        // W_a, W_b: fan-in grows, fan-out is the number of heads
  kGateScalar,  // A_log, dt_bias: one number a head
  kConv,        // depthwise taps: a vector per channel
  kNorm,        // gains
};
std::string_view name_of(Role role);  // "EMBEDDING", ...
// Throws Error unless `name` is a role's name_of.
Role parse_role(std::string_view name);

// Distribution of the initial values.
struct Initializer {
  enum class Kind : std::uint8_t {
    kNormal,              // mean 0, standard deviation a
    kUniform,             // [a, b]
    kConstant,            // a
    kLogOfUniform,        // log of U(a, b)
    kInverseSoftplusOfLogUniform,  // softplus^-1(x), log x uniform between log a and log b
  };
  Kind kind = Kind::kNormal;
  double a = 0;
  double b = 0;
};

// A parameter without storage: everything that scaling rules, sharding and checkpoints need to know of it.
// Shapes and fans are those of the whole model, never of one rank's part.
struct ParameterSpec {
  std::string name;       // dotted, as in flash-linear-attention checkpoints
  int unit = 0;           // parameters of a unit are used, and their gradients final, at the same places of a pass
  bool in_block = false;  // of what is added to the residual stream
  Role role = Role::kHidden;
  Shape shape;
  std::int64_t fan_in = 0;
  std::int64_t fan_out = 0;
  int shard_dim = -1;           // dimension cut over the tensor group; -1: replicated
  std::int64_t shard_unit = 1;  // indices of it that stay together: those of a head
  // What a replicated parameter meets, of which a rank of the tensor group may have a part: its gradients are partial
  // then.
  enum class Meets : std::uint8_t {
    kRows,   // rows of the residual stream
    kHeads,  // each head
  };
  Meets meets = Meets::kRows;
  bool keep_float32 = false;  // stays float32 when the compute dtype is bfloat16
  Initializer initializer;
};

// A parameter as one rank holds it: all of it, or the part that `part` says, whose shape value and gradient have.
struct Parameter {
  ParameterSpec spec;
  ParameterPart part;
  DType dtype = DType::kFloat32;  // of the value: the compute dtype, or float32 where spec.keep_float32
  Tensor value;                   // absent while this rank does not have it (ParameterStore)
  Tensor gradient;                // float32, or absent; every backward accumulates (+=)

  // From elements of this rank's part to those of the whole parameter.
  SliceMap slice_map() const { return {spec.shape, part.slice}; }
  Shape local_shape() const { return slice_map().local_shape(); }
};

// Element `index` (row-major, of the whole parameter) of the initial value drawn for `seed`, with the spread of
// kNormal and kUniform multiplied by `spread_multiplier`. Independent of layout and rank.
double initial_value(const ParameterSpec& spec, std::uint64_t seed, double spread_multiplier, std::int64_t index);

}  // namespace mudelta
