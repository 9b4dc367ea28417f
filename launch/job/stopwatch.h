#pragma once

#include <chrono>
#include <functional>

#include "core/device.h"

namespace mudelta {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  // Seconds since construction or the last lap.
  double lap() {
    const auto now = Clock::now();
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    start_ = now;
    return elapsed;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

struct Timing {
  double best = 0, median = 0;  // seconds a call
  int calls = 0;
};

// Calls `f` to warm up, then repeatedly for about `seconds` (at least 3 times), timing each call: on the host's clock,
// or for work that `f` queues on a GPU's stream by that GPU's own, the host running ahead.
Timing measure(const std::function<void()>& f, double seconds, Stream stream = {});

}  // namespace mudelta
