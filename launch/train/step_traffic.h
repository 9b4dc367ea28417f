#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dist/mesh.h"
#include "dist/traffic.h"
#include "launch/config/config.pb.h"

namespace mudelta {

// The groups of a mesh that a step communicates over.
enum class Axis : std::uint8_t { kTensor, kContext, kGradients, kWorld };  // kGradients: data x context
std::string_view name_of(Axis axis);

// What of a rank's own work a collective may run beside, where the hardware can.
enum class Beside : std::uint8_t {
  kNothing,
  kBackward,  // the backward pass of each micro-batch that it is called for
  kForward,   // likewise
  kUpdate,    // the optimizer's work
};

// `calls` collectives of one step.
struct Collective {
  Axis axis;
  int ranks;  // that take part: of the axis, or some that are neighbours there
  CollectiveKind kind;
  double bytes;  // of a rank's tensor before a reduction, or after a gather
  double calls;
  Beside beside = Beside::kNothing;

  // By a rank in each call, as Traffic counts them.
  double sent_bytes() const;
};

// What the rank that is number `tensor_rank` of its tensor group sends in a training step of `config` (complete, valid)
// on a mesh of `sizes`: the formulas of docs/parallelism.md. What makes many calls for its parts, buckets and units, is
// one call here. Left out are the padding of flat buffers, and numbers of the host.
std::vector<Collective> step_traffic(const RunConfig& config, const MeshSizes& sizes, int tensor_rank);

double sent_bytes(const std::vector<Collective>& traffic, Axis axis);  // in a step

}  // namespace mudelta
