#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launch/config/config.pb.h"

namespace mudelta {

// The configuration in a text file or a preset (launch/config/presets.h), changed by `overrides` ("train.steps=100") in
// their order. Throws Error: "FILE:LINE:COLUMN: ..." for what is wrong in the file, "--set ...: ..." for an override.
RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides);

// The same run with every default written out, so that it keeps its meaning when defaults change. What has no default
// stays unset.
RunConfig with_defaults(RunConfig config);

// Text of `with_defaults(config)`; parses back to the same.
std::string resolved_text(const RunConfig& config);

}  // namespace mudelta
