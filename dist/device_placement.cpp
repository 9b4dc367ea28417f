#include "dist/device_placement.h"

#include <algorithm>

#include "core/error.h"
#include "core/gpu.h"
#include "core/host_name.h"
#include "dist/mpi.h"

namespace mudelta {
DeviceTransport place_on_devices(const ProcessGroup& world) {
  const auto devices = gpu::devices();
  require(!devices.empty(), "there is no GPU to use: {}", gpu::description());
  const int index = rank_info().local_rank % static_cast<int>(devices.size());
  gpu::use_device(index);
  auto places = world.all_gather(host_name() + " " + devices[static_cast<std::size_t>(index)].bus_id);
  std::ranges::sort(places);
  const bool shared = std::ranges::adjacent_find(places) != places.end();
  return shared ? DeviceTransport::kHost : DeviceTransport::kNccl;
}

}  // namespace mudelta
