#pragma once

#include <string>

#include "launch/config/config.pb.h"

namespace mudelta {

// What is at `field` ("optimizer.adamw.lr"; empty: everything) in `config`, each field below its comment from the
// .proto files. Fields that are not set stand there as comments, so that the text parses to what was set. Throws Error,
// with the nearest name, on a field that there is not.
std::string documented_text(const RunConfig& config, const std::string& field);

}  // namespace mudelta
