#pragma once

#include <chrono>

namespace mudelta {

// Ends this process, with exit code 1 and a message that names the rank, the host and the call, if one call into MPI
// lasts `seconds` or more: another rank has stopped, or the network between them has. The launcher then ends the rest
// of the job. 0, as at the start: calls may last for ever.
// Only time in which this process runs counts: a job may be suspended and go on.
void limit_mpi_calls(int seconds);
int mpi_call_limit();

// Seconds that this process has spent in calls into MPI so far.
double seconds_in_mpi();

// Marks a call into MPI, whose name outlives it, while this object lives. Calls are made by one thread at a
// time and do not nest.
class MpiCall {
 public:
  explicit MpiCall(const char* name);
  ~MpiCall();
  MpiCall(const MpiCall&) = delete;
  MpiCall& operator=(const MpiCall&) = delete;

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace mudelta
