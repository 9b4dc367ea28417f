#include "launch/job/stopwatch.h"

#include <algorithm>
#include <vector>

namespace mudelta {

namespace {

constexpr std::size_t kMinCalls = 3;

Timing timing_of(std::vector<double>& times) {
  std::ranges::sort(times);
  return {times.front(), times[times.size() / 2], static_cast<int>(times.size())};
}

// Events stand between the calls, so that each is timed from the end of the last one.
Timing measure_on_gpu(const std::function<void()>& f, double seconds, Stream stream) {
  constexpr double kMaxCalls = 200;
  f();
  stream.synchronize();
  const Stopwatch one_call;
  f();
  stream.synchronize();
  const double wanted = std::min(seconds / one_call.seconds(), kMaxCalls);
  const std::size_t calls = std::max(static_cast<std::size_t>(wanted), kMinCalls);

  std::vector<gpu::EventHandle> events;
  for (std::size_t i = 0; i <= calls; ++i) events.push_back(gpu::create_event());
  gpu::record(events[0], stream.handle());
  for (std::size_t i = 1; i <= calls; ++i) {
    f();
    gpu::record(events[i], stream.handle());
  }
  stream.synchronize();
  std::vector<double> times;
  for (std::size_t i = 1; i <= calls; ++i) times.push_back(gpu::elapsed_ms(events[i - 1], events[i]) / 1e3);
  for (const gpu::EventHandle event : events) gpu::destroy_event(event);
  return timing_of(times);
}

}  // namespace

Timing measure(const std::function<void()>& f, double seconds, Stream stream) {
  if (stream.device().is_cuda()) return measure_on_gpu(f, seconds, stream);
  f();
  std::vector<double> times;
  const Stopwatch total;
  while (times.size() < kMinCalls || total.seconds() < seconds) {
    const Stopwatch call;
    f();
    times.push_back(call.seconds());
  }
  return timing_of(times);
}

}  // namespace mudelta
