#include "launch/job/job_devices.h"

#include <fmt/format.h>

#include "core/error.h"
#include "dist/device_placement.h"
#include "launch/job/agreement.h"
#include "launch/job/build_info.h"

namespace mudelta {
namespace {

DeviceTransport transport_of(ParallelConfig::GpuTransport wanted, DeviceTransport possible) {
  switch (wanted) {
    case ParallelConfig::NCCL: return DeviceTransport::kNccl;
    case ParallelConfig::HOST: return DeviceTransport::kHost;
    default: return possible;
  }
}

}  // namespace

std::vector<gpu::DeviceInfo> usable_gpus() {
  try {
    return gpu::devices();
  } catch (const Error&) {
    return {};
  }
}

JobDevices choose_devices(const ProcessGroup& world, TrainConfig::DeviceChoice choice,
                          ParallelConfig::GpuTransport transport) {
  if (choice == TrainConfig::CPU) return {{}, world};
  const bool sees_gpu = !gpu::devices().empty();
  const double missing = world.all_reduce(sees_gpu ? 0.0 : 1.0, ReduceOp::kSum);
  if (choice == TrainConfig::AUTO && missing == world.size()) return {{}, world};
  run_or_fail_together(world, [&] {
    require(sees_gpu, "the device is {}, but this rank sees no GPU: {}", TrainConfig::DeviceChoice_Name(choice),
            gpu::description());
  });
  const DeviceTransport possible = place_on_devices(world);
  return {Device::cuda(), world.on_devices(transport_of(transport, possible))};
}

std::string describe(Device device) {
  if (device.is_cuda()) return gpu::devices()[static_cast<std::size_t>(device.index)].name;
  return kHasCuda && usable_gpus().empty() ? fmt::format("CPU, as there is no GPU: {}", gpu::description()) : "CPU";
}

TrainConfig::DeviceChoice parse_device_choice(const std::string& text) {
  TrainConfig::DeviceChoice choice = TrainConfig::AUTO;
  require(TrainConfig::DeviceChoice_Parse(text, &choice), "--device is {}, expected AUTO, CPU or CUDA", text);
  return choice;
}

}  // namespace mudelta
