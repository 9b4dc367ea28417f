#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mudelta {

struct ImportRequest {
  std::filesystem::path from;  // a folder of another program (launch/interop/foreign_weights.h)
  std::filesystem::path out;
  // Of the configuration that the checkpoint gets ("parametrization.base_width=256"): SP unless they give a base or
  // another parametrization, whose logit multiplier the gain of the final norm then makes up for.
  std::vector<std::string> overrides;
  bool force = false;
};

// Writes the folder `out`, a checkpoint without optimizer state, all of it or nothing, and returns what the user is
// told. Throws Error.
std::string import_model(const ImportRequest& request);

}  // namespace mudelta
