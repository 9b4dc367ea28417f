#pragma once

#include <chrono>
#include <cstdint>
#include <source_location>
#include <string_view>

namespace mudelta {

// Ends this process, with exit code 1 and a message that names the rank, the host, the call, the step, the collective
// with its number and place, and the stack of the thread that waits, if one call into MPI lasts `seconds` or more:
// another rank has stopped, or the network between them has. The launcher then ends the rest of the job. 0, as at the
// start: calls may last for ever.
// Only time in which this process runs counts: a job may be suspended and go on.
void limit_mpi_calls(int seconds);
int mpi_call_limit();

// For that message: what this rank is at. Collectives of this rank are numbered from 1, whatever their group; ranks of
// one layout that are at the same step and number are at the same collective. `kind` outlives the process's calls.
void note_step(std::int64_t step);
void note_collective(std::string_view kind, std::string_view group, const std::source_location& source);

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
