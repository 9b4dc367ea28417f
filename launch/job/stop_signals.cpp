#include "launch/job/stop_signals.h"

#include <omp.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <ctime>

namespace mudelta {
namespace {

constexpr std::array kStopSignals = {SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGPIPE};

volatile std::sig_atomic_t stop_signal = 0;
std::atomic<std::time_t> first_second = 0;  // of the monotonic clock, of the first signal

void handle(int signal) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (stop_signal == 0) {
    first_second = now.tv_sec;
    stop_signal = signal;
  } else if (signal != SIGPIPE && now.tv_sec > first_second + 1) {
    std::signal(signal, SIG_DFL);
    raise(signal);  // comes once this returns
  }
}

// oneDNN's matrix products (up to 3.11) let the stack pointer point into the heap while they run: a handler on the
// usual stack would write there (oneDNN issue 4845).
void use_own_stack_for_handlers() {
  alignas(64) static std::array<std::byte, 64 * 1024> memory;
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  sigaltstack(&stack, nullptr);
}

// OpenMP's other threads run matrix products too, and have no such stack.
void block_on_other_threads(const sigset_t& signals) {
#pragma omp parallel
  if (omp_get_thread_num() != 0) pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

bool is_ignored(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

}  // namespace

void catch_stop_signals() {
  use_own_stack_for_handlers();
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  for (const int signal : kStopSignals) sigaddset(&action.sa_mask, signal);
  block_on_other_threads(action.sa_mask);
  for (const int signal : kStopSignals) {
    if (signal != SIGHUP || !is_ignored(SIGHUP)) sigaction(signal, &action, nullptr);
  }
}

bool stop_signalled() { return stop_signal != 0; }

bool stop_signalled(const ProcessGroup& group) {
  return group.all_reduce(stop_signalled() ? 1.0 : 0.0, ReduceOp::kMax) > 0;
}

}  // namespace mudelta
