#include "core/error.h"
#include "dist/nccl_backend.h"

namespace mudelta {

std::shared_ptr<const ProcessGroup::Backend> nccl_backend(std::shared_ptr<const ProcessGroup::Backend>) {
  fail("NCCL was asked for: mudelta was built without it");
}

std::string nccl_version() { return "not built"; }

}  // namespace mudelta
