#include "simt/launch.h"

#include <charconv>
#include <cstdlib>
#include <mutex>
#include <numeric>
#include <string>

#include "core/error.h"
#include "simt/block.h"
#include "simt/code_location.h"
#include "simt/device_memory.h"
#include "simt/shared_memory.h"

namespace mudelta::simt {
namespace {

// The one device, which runs one kernel at a time. Never destroyed: nor are the stacks of its threads.
struct Device {
  std::mutex mutex;
  Block block;
};
Device& device() {
  static auto* instance = new Device;
  return *instance;
}

Schedule& schedule() {
  static Schedule current = [] {
    const char* text = std::getenv("MUDELTA_SIMT_SCHEDULE");
    return text == nullptr ? Schedule{} : Schedule::parse(text);
  }();
  return current;
}

// What the hardware (sm_90) refuses to start.
void require_possible(const Launch& configuration) {
  const auto [kernel, run_thread, data, grid, num_threads, shared_bytes] = configuration;
  const auto allow = [&](bool possible, std::string_view limit) {
    require(possible,
            "kernel {} cannot be launched with {} x {} x {} blocks of {} threads and {} bytes of shared memory: {}",
            possible ? "" : function_at(kernel), grid.x, grid.y, grid.z, num_threads, shared_bytes, limit);
  };
  allow(1 <= num_threads && num_threads <= kMaxThreads, "a block has 1 to 1024 threads");
  allow(grid.x <= 0x7fffffffu, "grid.x is at most 2^31 - 1");
  allow(grid.y <= 65535 && grid.z <= 65535, "grid.y and grid.z are at most 65535");
  allow(0 <= shared_bytes && shared_bytes <= kMaxSharedBytes, "a block has at most 227 KiB of shared memory");
}

// Visits 0 ... count - 1 in the order of a schedule: at random, in steps that have no factor in common with the count.
class BlockOrder {
 public:
  BlockOrder(Schedule schedule, std::int64_t count) : schedule_(schedule), count_(count) {
    step_ =
        static_cast<std::int64_t>((schedule.seed * 0x9e3779b97f4a7c15u >> 33) % static_cast<std::uint64_t>(count)) + 1;
    while (std::gcd(step_, count_) != 1) ++step_;
  }
  std::int64_t operator[](std::int64_t i) const {
    switch (schedule_.order) {
      case Schedule::Order::kAscending: break;
      case Schedule::Order::kDescending: return count_ - 1 - i;
      case Schedule::Order::kRandom: return (i + 1) * step_ % count_;
    }
    return i;
  }

 private:
  Schedule schedule_;
  std::int64_t count_;
  std::int64_t step_ = 1;
};

}  // namespace

Schedule Schedule::parse(std::string_view text) {
  constexpr std::string_view kRandomPrefix = "random:";
  if (text == "ascending") return {Order::kAscending};
  if (text == "descending") return {Order::kDescending};
  Schedule parsed{Order::kRandom};
  if (text.starts_with(kRandomPrefix)) {
    const std::string_view seed = text.substr(kRandomPrefix.size());
    const auto [end, error] = std::from_chars(seed.data(), seed.data() + seed.size(), parsed.seed);
    if (error == std::errc() && end == seed.data() + seed.size()) return parsed;
  }
  fail("\"{}\" is no schedule: expected ascending, descending or random:SEED", text);
}

Schedule current_schedule() { return schedule(); }
void set_schedule(Schedule chosen) { schedule() = chosen; }

void launch(const Launch& configuration) {
  const dim3 grid = configuration.grid;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  require_possible(configuration);
  Device& running = device();
  const std::lock_guard lock(running.mutex);
  const DeviceMemoryAccess access;
  resize_shared_memory(configuration.shared_bytes);
  running.block.races().begin_launch();
  const std::int64_t num_blocks = std::int64_t{grid.x} * grid.y * grid.z;
  const BlockOrder order(schedule(), num_blocks);
  for (std::int64_t i = 0; i < num_blocks; ++i) {
    const std::int64_t block = order[i];
    const auto coordinate = [](std::int64_t value) { return static_cast<unsigned>(value); };
    const dim3 index(coordinate(block % grid.x), coordinate(block / grid.x % grid.y),
                     coordinate(block / grid.x / grid.y));
    running.block.run(configuration, index, schedule());
  }
}

}  // namespace mudelta::simt
