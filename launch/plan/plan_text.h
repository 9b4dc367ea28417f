#pragma once

#include <string>

#include "launch/plan/plan.h"

namespace mudelta {

// The `top` fastest layouts as a table (0: all), the one that is recommended, why, and the command that runs it; where
// none fits, what would make one fit.
std::string describe(const Plan& plan, const PlanRequest& request, int top);

}  // namespace mudelta
