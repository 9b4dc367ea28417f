#pragma once

#include <memory>

#include "dist/process_group.h"

namespace mudelta {

// All ranks that mpirun started; null where there is only this one. Throws Error if mpirun started this process and
// MPI is not initialised (any more).
std::shared_ptr<const ProcessGroup::Backend> mpi_world_backend();

}  // namespace mudelta
