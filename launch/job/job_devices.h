#pragma once

#include <string>
#include <vector>

#include "core/device.h"
#include "dist/process_group.h"
#include "launch/config/config.pb.h"

namespace mudelta {

// Where a job computes, and its ranks, fit to communicate tensors there.
struct JobDevices {
  Device device;
  ProcessGroup world;
};

// Follows the two settings; AUTO takes GPUs if every rank sees one, and the CPU if none does. Collective. Throws
// SharedError if a GPU is asked for and missing on any rank, or if only some ranks see one; and Error if a rank sees
// GPUs that cannot be used, which is no reason to train on the CPU.
JobDevices choose_devices(const ProcessGroup& world, TrainConfig::DeviceChoice choice,
                          ParallelConfig::GpuTransport transport = ParallelConfig::AUTO);

// This process's; none where they cannot be used, for which gpu::description() has the reason.
std::vector<gpu::DeviceInfo> usable_gpus();

// A GPU's name, or "CPU", and why no GPU in a program that is built for them.
std::string describe(Device device);

// "AUTO", "CPU" or "CUDA", as the command line has it. Throws Error on anything else.
TrainConfig::DeviceChoice parse_device_choice(const std::string& text);

}  // namespace mudelta
