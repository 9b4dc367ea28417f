#pragma once

#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "core/gpu.h"

namespace mudelta {

// Names the host's work until the end of its scope: in a GPU profiler's time line (NVTX), and to those who ask.
class ProfileRange {
 public:
  explicit ProfileRange(const char* name) {
    gpu::push_range(name);
    open_.push_back(name);
  }
  ~ProfileRange() {
    open_.pop_back();
    gpu::pop_range();
  }
  ProfileRange(const ProfileRange&) = delete;
  ProfileRange& operator=(const ProfileRange&) = delete;

  // Those that this thread is in: "forward and backward > mixer forward".
  static std::string open() { return fmt::format("{}", fmt::join(open_, " > ")); }

 private:
  static inline thread_local std::vector<const char*> open_;
};

}  // namespace mudelta
