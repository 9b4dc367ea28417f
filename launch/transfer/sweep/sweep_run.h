#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "dist/mesh.h"
#include "launch/transfer/sweep/sweep_results.h"

namespace mudelta {

struct SweepRunRequest {
  SweepRun run;
  RunConfig config;
  std::filesystem::path folder;  // for its checkpoints; may be absent
  bool keep_checkpoint = false;  // write one after the last step
};

// Trains and evaluates one run, from the newest checkpoint in its folder on if there is one: then to the same bits as
// in one go. Checkpoints are written as config.checkpoint() says. A run that diverges, or ends with a loss above that
// of its first step, has a result without a loss.
// `stop` is called after each step and within the evaluation, with a line that says how far the run is. Once it returns
// true on any rank, a checkpoint is written and nothing returned.
// Collective over the mesh; what fails on one rank throws a SharedError on all.
std::optional<SweepResult> train_run(const SweepRunRequest& request, const Mesh& mesh, Device device,
                                     const std::function<bool(const std::string& status)>& stop);

}  // namespace mudelta
