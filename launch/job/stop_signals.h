#pragma once

#include "dist/process_group.h"

namespace mudelta {

// From now on the stop signals do not end the process: stop_signalled() becomes true. They are SIGTERM, SIGINT,
// SIGUSR1, SIGHUP (unless it is ignored, as under nohup) and SIGPIPE (nobody reads the output any more). Call it on the
// main thread, after OpenMP's number of threads has been set.
// A second signal (but SIGPIPE), a second or more after the first, ends the process at once, by that signal. Sooner, it
// is taken for the same one: launchers may pass one on that was sent to all.
void catch_stop_signals();
bool stop_signalled();

// Whether any rank of `group` was signalled. Collective.
bool stop_signalled(const ProcessGroup& group);

}  // namespace mudelta
