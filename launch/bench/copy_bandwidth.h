#pragma once

#include "core/device.h"

namespace mudelta {

// Bytes moved (read and written) per second by a large copy within the memory of `device`, by all threads on a CPU;
// measured for about `seconds`.
double measure_copy_bandwidth(Device device, double seconds);

}  // namespace mudelta
