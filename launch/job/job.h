#pragma once

#include <functional>

namespace mudelta {

// What a job does once the command line is understood, on every rank; its result is the exit code. It may throw:
// SharedError where every rank does so alike (launch/job/agreement.h), anything else ends the whole job.
using Command = std::function<int()>;

// Starts MPI, runs `command` on this rank and ends MPI. The ranks' arguments must be alike; from the start, calls into
// MPI have the limit of parallel.timeout_seconds' default (dist/watchdog.h), which a command may replace. Returns the
// exit code: the command's own, 2 after an Error or an error of the system, 1 after any other exception; the message
// goes to stderr as "mudelta: error: ...". That stdout did not take what was printed is an error too. A SharedError is
// told by rank 0 and every rank returns, and so is any other failure if it comes on all ranks at about the same time
// (memory that ends in the same operation, say). Else it is told with its rank and ends the whole job, as the other
// ranks would wait for this one in a collective.
int run_job(const Command& command, int argc, char** argv);

}  // namespace mudelta
