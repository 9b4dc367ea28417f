#pragma once

#include "core/device.h"
#include "dist/process_group.h"
#include "launch/config/config.pb.h"
#include "launch/plan/hardware.h"

namespace mudelta {

// The rates of this job's ranks, all at work at the same time, a second or two for each: matrix products, copies, the
// gated delta rule with the model's heads, a training step of some of the model's layers, and collectives within a node
// and between nodes (links that there is no second rank for are left out). `config` is complete; the groups are fit for
// `device`. Memory is what a rank can have. Collective; every rank gets the slowest rank's rates.
Hardware measure_hardware(const RunConfig& config, const ProcessGroup& world, Device device);

}  // namespace mudelta
