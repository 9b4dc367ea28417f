#include "launch/stop_signals.h"

#include <omp.h>
#include <pthread.h>

#include <array>
#include <csignal>
#include <cstddef>

namespace mudelta {
namespace {

constexpr std::array kStopSignals = {SIGTERM, SIGINT, SIGUSR1};

volatile std::sig_atomic_t stop_signal = 0;

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

}  // namespace

void catch_stop_signals() {
  use_own_stack_for_handlers();
  struct sigaction action {};
  action.sa_handler = [](int signal) { stop_signal = signal; };
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  for (const int signal : kStopSignals) sigaddset(&action.sa_mask, signal);
  block_on_other_threads(action.sa_mask);
  for (const int signal : kStopSignals) sigaction(signal, &action, nullptr);
}

bool stop_signalled() { return stop_signal != 0; }

}  // namespace mudelta
