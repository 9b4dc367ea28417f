#pragma once

#include <string>

#include "core/dtype.h"
#include "launch/plan/hardware.pb.h"

namespace mudelta {

// A built-in cluster by its name ("h100"), or what a file in protobuf text format says. Throws Error if there is
// neither, naming the built-in ones, or as validate().
Hardware load_hardware(const std::string& name_or_file);

// Throws Error, naming the field and what was expected, unless all rates are there and positive. Links may be missing.
void validate(const Hardware& hardware);

double matrix_rate(const Hardware& hardware, DType compute_dtype);  // FLOP/s
// Bytes a device for a run: nine tenths of it, the rest being for what no estimate knows (driver, NCCL, fragments).
inline double usable_memory(const Hardware& hardware) { return 0.9 * hardware.memory_gib() * (1 << 30); }
inline double memory_rate(const Hardware& hardware) { return hardware.memory_gb_per_second() * 1e9; }  // bytes/s

}  // namespace mudelta
