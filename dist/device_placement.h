#pragma once

#include "dist/process_group.h"

namespace mudelta {

// Makes GPU number (local rank modulo the GPUs of this host) this process's device. Collective over the world: what is
// returned is kNccl if no two ranks share a GPU, else kHost. Throws Error if this rank sees no GPU.
DeviceTransport place_on_devices(const ProcessGroup& world);

}  // namespace mudelta
