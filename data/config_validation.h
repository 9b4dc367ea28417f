#pragma once

#include "data/config.pb.h"

namespace mudelta {

// Throws Error, naming the field and what was expected, on what no data set can be read by.
void validate(const DataConfig& config);

}  // namespace mudelta
