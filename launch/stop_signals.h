#pragma once

namespace mudelta {

// From now on SIGTERM, SIGINT and SIGUSR1 do not end the process: stop_signalled() becomes true. Call it on the main
// thread, after OpenMP's number of threads has been set.
void catch_stop_signals();
bool stop_signalled();

}  // namespace mudelta
