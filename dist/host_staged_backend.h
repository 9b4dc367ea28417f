#pragma once

#include <memory>

#include "dist/process_group.h"

namespace mudelta {

// `host` made fit for tensors on GPUs: they are copied to pinned memory, communicated there, and copied back. Slow, and
// the host waits; for ranks that share a GPU, and where there is no NCCL.
std::shared_ptr<const ProcessGroup::Backend> host_staged_backend(std::shared_ptr<const ProcessGroup::Backend> host);

}  // namespace mudelta
