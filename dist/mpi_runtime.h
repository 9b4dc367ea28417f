#pragma once

#include <mpi.h>

#include <string_view>

#include "dist/watchdog.h"

// What the MPI sources of dist share.
namespace mudelta {

// Throws Error with the name of the MPI function in `call` and MPI's own text unless `code` is MPI_SUCCESS.
void check_mpi(int code, std::string_view call);

// Whether a launcher (mpirun, or srun with PMIx or PMI) started this process as one rank of a job.
bool started_by_launcher();

// Whether MPI can be called: initialised and not finalised.
bool mpi_active();

}  // namespace mudelta

// Every call into MPI that may wait or fail goes through here. Communicators return their errors: MpiSession sets
// MPI_ERRORS_RETURN. The watchdog sees how long it lasts.
#define MUDELTA_MPI(call) ::mudelta::check_mpi((::mudelta::MpiCall(#call), (call)), #call)
