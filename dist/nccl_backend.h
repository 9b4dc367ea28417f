#pragma once

#include <memory>
#include <string>

#include "dist/process_group.h"

namespace mudelta {

// Collectives of tensors on GPUs over NCCL, for the ranks of `host` (which carries the communicator's id and host
// values), each with a GPU of its own. Collective. Throws Error if NCCL cannot start, or is not built in.
std::shared_ptr<const ProcessGroup::Backend> nccl_backend(std::shared_ptr<const ProcessGroup::Backend> host);

// "2.27.7", or "not built".
std::string nccl_version();

}  // namespace mudelta
