#pragma once

#include "core/gpu.h"

namespace mudelta {

// Names the host's work until the end of its scope in a GPU profiler's time line (NVTX).
class ProfileRange {
 public:
  explicit ProfileRange(const char* name) { gpu::push_range(name); }
  ~ProfileRange() { gpu::pop_range(); }
  ProfileRange(const ProfileRange&) = delete;
  ProfileRange& operator=(const ProfileRange&) = delete;
};

}  // namespace mudelta
