#pragma once

#include <cstdint>
#include <string_view>

#include "simt/builtins.h"

namespace mudelta::simt {

struct Launch {
  const void* kernel = nullptr;               // its code, to name it
  void (*run_thread)(const void*) = nullptr;  // called with `data` by every thread
  const void* data = nullptr;
  dim3 grid;
  int num_threads = 0;  // of a block
  std::int64_t shared_bytes = 0;
};

// Runs the blocks one after another, and returns when all are done. Threads of a block take turns on the calling host
// thread; they change only where one waits for others. Launches of several host threads queue up.
// Throws Error if the hardware would not start the kernel (block, grid or shared memory too large); if a thread throws;
// if threads wait for each other for ever; for a race, see race_check.h.
void launch(const Launch& configuration);

// The order in which threads that can run do so, and blocks.
struct Schedule {
  enum class Order { kAscending, kDescending, kRandom };
  Order order = Order::kAscending;
  std::uint64_t seed = 0;  // of kRandom

  // "ascending", "descending", "random:7". Throws Error.
  static Schedule parse(std::string_view text);
};

// At first: that of the environment's MUDELTA_SIMT_SCHEDULE, or ascending.
Schedule current_schedule();
void set_schedule(Schedule schedule);

// Another schedule for a scope.
class ScopedSchedule {
 public:
  explicit ScopedSchedule(std::string_view text) { set_schedule(Schedule::parse(text)); }
  ~ScopedSchedule() { set_schedule(before_); }
  ScopedSchedule(const ScopedSchedule&) = delete;
  ScopedSchedule& operator=(const ScopedSchedule&) = delete;

 private:
  Schedule before_ = current_schedule();
};

}  // namespace mudelta::simt
