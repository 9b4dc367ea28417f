#include "launch/stopwatch.h"

#include <algorithm>
#include <vector>

namespace mudelta {

Timing measure(const std::function<void()>& f, double seconds) {
  constexpr std::size_t kMinCalls = 3;
  f();
  std::vector<double> times;
  const Stopwatch total;
  while (times.size() < kMinCalls || total.seconds() < seconds) {
    const Stopwatch call;
    f();
    times.push_back(call.seconds());
  }
  std::ranges::sort(times);
  return {times.front(), times[times.size() / 2], static_cast<int>(times.size())};
}

}  // namespace mudelta
