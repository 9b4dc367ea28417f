#include "dist/watchdog.h"

#include <execinfo.h>
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
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

struct Place {
  std::int64_t step = 0, collectives = 0;
  std::string_view kind;
  std::string group;
  std::source_location source;
};
std::mutex place_mutex;
Place place;
std::atomic<pthread_t> calling_thread{};
std::atomic<bool> stack_is_printed{false};

// Of the thread that it is sent to.
constexpr int kPrintStack = SIGURG;

void print_stack(int /*signal*/) {
  std::array<void*, 64> frames;
  ::backtrace_symbols_fd(frames.data(), ::backtrace(frames.data(), frames.size()), STDERR_FILENO);
  stack_is_printed = true;
}

void prepare_stack() {
  std::array<void*, 1> frame;
  ::backtrace(frame.data(), frame.size());  // loads its library, which a handler must not
  struct sigaction action {};
  action.sa_handler = print_stack;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigaction(kPrintStack, &action, nullptr);
}

// A thread that takes no signals any more is not waited for.
void print_stack_of_call() {
  if (::pthread_kill(calling_thread.load(), kPrintStack) != 0) return;
  for (int i = 0; i < 200 && !stack_is_printed; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

std::string describe_place() {
  const std::scoped_lock lock(place_mutex);
  const std::string step = place.step > 0 ? fmt::format("step {}, ", place.step) : "";
  if (place.collectives == 0) return step + "no collective";
  const std::string_view file = place.source.file_name();
  return fmt::format("{}collective {}: {} of the {} group, from {}:{}", step, place.collectives, place.kind,
                     place.group, file.substr(file.rfind('/') + 1), place.source.line());
}

bool within_call(std::uint64_t move) { return move % 2 == 1; }

[[noreturn]] void give_up(int seconds) {
  const std::string_view call = current_call.load();
  fmt::print(stderr,
             "mudelta: error: [rank {} on {}] {} has waited {} s for other ranks, expected less than {} s "
             "(parallel.timeout_seconds): a rank that does not report this, or the network to it, has stopped\n"
             "mudelta: [rank {}] at {}; its stack:\n",
             rank_info().rank, host_name(), call.substr(0, call.find('(')), seconds, limit_seconds.load(),
             rank_info().rank, describe_place());
  std::fflush(stderr);
  print_stack_of_call();
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
  if (seconds == 0) return;
  std::call_once(started, [] {
    prepare_stack();
    std::thread(watch).detach();
  });
}

void note_step(std::int64_t step) {
  const std::scoped_lock lock(place_mutex);
  place.step = step;
}

void note_collective(std::string_view kind, std::string_view group, const std::source_location& source) {
  const std::scoped_lock lock(place_mutex);
  ++place.collectives;
  place.kind = kind;
  place.group = group;
  place.source = source;
}

int mpi_call_limit() { return limit_seconds; }

MpiCall::MpiCall(const char* name) {
  current_call = name;
  calling_thread = pthread_self();
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
