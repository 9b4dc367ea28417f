#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/config/config.pb.h"

namespace mudelta {

// Each field whose value differs, one line each: "optimizer.adamw.lr: 0.004 -> 0.002". A field without a value is
// "none"; one that the message does not have because of its age counts as its default.
std::vector<std::string> config_changes(const RunConfig& before, const RunConfig& now);

// What a user should know of a run that goes on after `steps_done` steps, the last of them with configuration `before`:
// the fields that changed, and where the learning rate goes at the seam. One line each.
std::vector<std::string> resume_notes(const RunConfig& before, const RunConfig& now, std::int64_t steps_done);

}  // namespace mudelta
