#pragma once

#include <string>
#include <vector>

#include "launch/config/config.pb.h"
#include "launch/plan/hardware.h"
#include "launch/plan/step_time.h"
#include "launch/train/memory_estimate.h"

namespace mudelta {

// One way to train a model on so many devices.
struct PlannedLayout {
  RunConfig config;
  MemoryEstimate memory;  // of a rank
  StepTime time;
};

// Which of a configuration's fields a plan chooses; the others stay as they are.
struct LayoutChoices {
  bool tensor = true, context = true, zero_stage = true;  // of `parallel`
  bool micro_batch = true;                                // of `train`
  bool recompute = true;                                  // of `model`
};
// Those that `given` leaves out.
LayoutChoices choices_left_by(const RunConfig& given);

struct PlanRequest {
  RunConfig config;  // complete
  LayoutChoices choices;
  int devices = 1;
  double memory_bytes = 0;  // that a rank can have on a device
  Hardware hardware;
};

struct Plan {
  std::vector<PlannedLayout> fitting;    // fastest first
  std::vector<PlannedLayout> too_large;  // least memory first
  std::vector<std::string> refusals;     // by `train`, of all others; each once
};

// For each factorisation of the devices, ZeRO stage and recomputation that `train` accepts: with the largest
// micro-batch that fits, or the smallest where none does. Throws Error as estimate_step_time().
Plan make_plan(const PlanRequest& request);

}  // namespace mudelta
