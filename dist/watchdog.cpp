#include "dist/watchdog.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <thread>

#include "core/host_name.h"
#include "dist/mpi.h"

namespace mudelta {
namespace {

constexpr int kExitCode = 1;

// One for each beginning and end of a call: odd within one.
std::atomic<std::uint64_t> moves{0};
std::atomic<const char*> current_call{nullptr};
std::atomic<int> limit_seconds{0};
std::atomic<std::chrono::steady_clock::rep> time_in_mpi{0};

bool within_call(std::uint64_t move) { return move % 2 == 1; }

[[noreturn]] void give_up(int seconds) {
  const std::string_view call = current_call.load();
  fmt::print(stderr,
             "mudelta: error: [rank {} on {}] {} has waited {} s for other ranks, expected less than {} s "
             "(parallel.timeout_seconds): a rank that does not report this, or the network to it, has stopped\n",
             rank_info().rank, host_name(), call.substr(0, call.find('(')), seconds, limit_seconds.load());
  std::_Exit(kExitCode);
}

// Counts its own ticks instead of asking a clock: they stop with the process.
[[noreturn]] void watch() {
  std::uint64_t last_move = 0;
  for (int seconds = 0;; ++seconds) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const std::uint64_t move = moves.load();
    if (move != last_move || !within_call(move)) seconds = 0;
    last_move = move;
    const int limit = limit_seconds.load();
    if (limit > 0 && seconds >= limit) give_up(seconds);
  }
}

}  // namespace

void limit_mpi_calls(int seconds) {
  limit_seconds = seconds;
  static std::once_flag started;
  if (seconds > 0) std::call_once(started, [] { std::thread(watch).detach(); });
}

int mpi_call_limit() { return limit_seconds; }

MpiCall::MpiCall(const char* name) {
  current_call = name;
  ++moves;
}

MpiCall::~MpiCall() {
  ++moves;
  time_in_mpi += (std::chrono::steady_clock::now() - begin_).count();
}

double seconds_in_mpi() {
  return std::chrono::duration<double>(std::chrono::steady_clock::duration(time_in_mpi)).count();
}

}  // namespace mudelta
