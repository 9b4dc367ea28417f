#pragma once

#include "launch/job/agreement.h"

namespace mudelta {

// The end of a run whose present state must not become a checkpoint.
class UnsavedError : public SharedError {
 public:
  using SharedError::SharedError;
};

}  // namespace mudelta
