#pragma once

#include <string>

namespace mudelta {

std::string host_name();

}  // namespace mudelta
