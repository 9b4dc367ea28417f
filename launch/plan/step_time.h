#pragma once

#include "launch/config/config.pb.h"
#include "launch/plan/hardware.h"

namespace mudelta {

// Seconds of a training step, by the rates of a Hardware: products at the matrix rate, operations on rows at the rate
// of memory, the gated delta rule at its multiple of the floor, collectives by latency and bandwidth.
struct StepTime {
  double compute = 0;        // forward and backward passes
  double update = 0;         // norm, clipping, optimizer
  double communication = 0;  // all collectives, whatever runs beside them
  double exposed = 0;        // of these, while the device does nothing else
  double total() const { return compute + update + exposed; }
};

// Of `config` (complete, valid) on `devices` ranks, neighbours on one node. Throws Error if a group spans a link that
// the hardware does not have.
StepTime estimate_step_time(const RunConfig& config, int devices, const Hardware& hardware);

}  // namespace mudelta
