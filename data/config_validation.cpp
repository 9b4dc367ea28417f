#include "data/config_validation.h"

#include "core/error.h"

namespace mudelta {

void validate(const DataConfig& config) {
  require(!config.path().empty(), "data.path is not given: expected a folder written by `mudelta prepare`");
}

}  // namespace mudelta
