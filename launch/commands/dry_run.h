#pragma once

#include "launch/config/config.pb.h"

namespace mudelta {

// The configuration that a run of `ranks` ranks would have, as complete_run_config's, where its data set may be absent:
// the vocabulary is then that of the tokenizer. Throws Error as complete_run_config.
RunConfig complete_without_data(RunConfig config, int ranks);

// Prints what such a run would take: parameters, memory, and the least time by this machine's matrix-product peak, if
// each of `ranks` ranks had the same as this process. Allocates nothing of the model.
void print_dry_run(const RunConfig& config, int ranks);

}  // namespace mudelta
