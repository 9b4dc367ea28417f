#include "dist/mpi.h"

#include <omp.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "dist/core_sharing.h"
#include "dist/mpi_runtime.h"

namespace mudelta {
namespace {

RankInfo this_rank;  // set while an MpiSession lives

class HostCommunicator {
 public:
  HostCommunicator() {
    MUDELTA_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm_));
  }
  ~HostCommunicator() { MPI_Comm_free(&comm_); }
  HostCommunicator(const HostCommunicator&) = delete;
  HostCommunicator& operator=(const HostCommunicator&) = delete;
  MPI_Comm get() const { return comm_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

RankInfo query_rank_info(MPI_Comm host) {
  RankInfo info;
  MUDELTA_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &info.rank));
  MUDELTA_MPI(MPI_Comm_size(MPI_COMM_WORLD, &info.size));
  MUDELTA_MPI(MPI_Comm_rank(host, &info.local_rank));
  MUDELTA_MPI(MPI_Comm_size(host, &info.local_size));
  return info;
}

// An MPI library other than the launcher's comes up as many worlds of one rank; the launcher's own count shows it.
void require_promised_size(int size) {
  const char* promised = std::getenv("OMPI_COMM_WORLD_SIZE");
  require(promised == nullptr || promised == std::to_string(size),
          "MPI started with {} rank(s), but mpirun promised {} (OMPI_COMM_WORLD_SIZE): is mpirun of the same MPI "
          "library as this program?",
          size, promised == nullptr ? "" : promised);
}

// Tasks that srun starts without PMIx do not know of each other: each would be a job of its own, in the same folders.
void require_one_task_of_srun() {
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  require(
      tasks == nullptr || std::string_view(tasks) == "1",
      "srun started {} tasks (SLURM_STEP_NUM_TASKS) that cannot reach each other: expected srun --mpi=pmix, or mpirun",
      tasks == nullptr ? "" : tasks);
}

void share_cores(MPI_Comm host, const RankInfo& info) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;
  std::vector<CoreSet> local_ranks(static_cast<std::size_t>(info.local_size));
  const CoreSet own = available_cores();
  constexpr int kBytes = sizeof(CoreSet);
  MUDELTA_MPI(MPI_Allgather(&own, kBytes, MPI_BYTE, local_ranks.data(), kBytes, MPI_BYTE, host));
  omp_set_num_threads(fair_share_of_cores(local_ranks, static_cast<std::size_t>(info.local_rank)));
}

}  // namespace

void check_mpi(int code, std::string_view call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail("{} failed: {}", call.substr(0, call.find('(')), std::string_view(text, static_cast<std::size_t>(length)));
}

bool started_by_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

bool mpi_active() {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized && !finalized;
}

MpiSession::MpiSession(int* argc, char*** argv) {
  if (!started_by_launcher()) {  // a rank on its own needs no MPI, nor its daemon
    require_one_task_of_srun();
    return;
  }
  int provided = MPI_THREAD_SINGLE;
  MUDELTA_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided));
  require(provided >= MPI_THREAD_SERIALIZED, "MPI offers thread level {}, expected at least MPI_THREAD_SERIALIZED ({})",
          provided, MPI_THREAD_SERIALIZED);
  MUDELTA_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  const HostCommunicator host;
  const RankInfo info = query_rank_info(host.get());
  require_promised_size(info.size);
  share_cores(host.get(), info);
  this_rank = info;
}

MpiSession::~MpiSession() {
  if (!mpi_active()) return;
  const MpiCall call("MPI_Finalize");
  MPI_Finalize();
  this_rank = {};
}

RankInfo rank_info() { return this_rank; }

void abort_job(int exit_code) {
  if (mpi_active()) MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace mudelta
