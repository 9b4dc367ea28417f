#pragma once

#include <vector>

#include "data/config.pb.h"

namespace mudelta {

// Throws Error, naming the field and what was expected, on what no data set can be read by.
void validate(const DataConfig& config);

// The data sets of a configuration that is valid: its sources, each with a name, or one without a name for its path.
std::vector<DataSource> sources_of(const DataConfig& config);

}  // namespace mudelta
