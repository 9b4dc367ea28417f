#pragma once

#include <string_view>

namespace mudelta {

// MPI for the life of this object: MPI_Init_thread in the constructor, MPI_Finalize in the destructor.
// A process that no launcher started is a rank on its own and leaves MPI alone.
// Also shares each host's cores out among the ranks that may run on them (OpenMP threads), unless OMP_NUM_THREADS is
// set. Throws Error if MPI cannot start or does not bring up the ranks that mpirun or srun promised: there is no silent
// fall to one rank. Errors must be caught while the session lives and end in abort_job, as MPI_Finalize waits for the
// other ranks.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
};

struct RankInfo {
  int rank = 0;  // in the world
  int size = 1;
  int local_rank = 0;  // on this host
  int local_size = 1;
};
// Of this process; {0, 1, 0, 1} while MPI is not initialised.
RankInfo rank_info();

// Ends every rank of the job with `exit_code`. A rank that merely returned would leave its peers in a collective.
[[noreturn]] void abort_job(int exit_code);

}  // namespace mudelta
