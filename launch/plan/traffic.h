#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dist/traffic.h"
#include "launch/config/config.pb.h"

namespace mudelta {

// The groups of a mesh that a step communicates over.
enum class Axis : std::uint8_t { kTensor, kContext, kGradients };  // kGradients: data x context
std::string_view name_of(Axis axis);

// What of a rank's own work a collective may run beside, where the hardware can.
enum class Beside : std::uint8_t {
  kNothing,
  kBackward,  // the backward pass of each micro-batch that it is called for
  kForward,   // likewise
  kUpdate,    // the optimizer's work
};

// `calls` collectives of one step. `bytes`: of a rank's tensor before a reduction, or after a gather.
struct Collective {
  Axis axis;
  CollectiveKind kind;
  double bytes;
  double calls;
  Beside beside = Beside::kNothing;

  // By a rank of `ranks` in each call, in the ring algorithm.
  double sent_bytes(int ranks) const;
};

// What a rank sends and receives in a training step of `config` (complete, valid) on `devices` ranks;
// docs/parallelism.md has the formulas. What is of no size is left out: statistics of the loss, the norm of the
// gradients.
std::vector<Collective> traffic_of(const RunConfig& config, int devices);

}  // namespace mudelta
