#include "launch/train/step_timer.h"

#include <utility>

#include "dist/watchdog.h"

namespace mudelta {

StepTimer::~StepTimer() {
  for (const std::vector<Mark>& marks : {previous_, marks_}) {
    for (const Mark& mark : marks) gpu::destroy_event(mark.event);
  }
}

void StepTimer::start_step() {
  if (stream_.device().is_cuda()) {
    add_previous();
    previous_ = std::exchange(marks_, {});
    mark(nullptr);
  } else {
    since_mark_.lap();
    mpi_seconds_ = seconds_in_mpi();
  }
}

void StepTimer::end(double StepSeconds::*part) {
  if (stream_.device().is_cuda()) return mark(part);
  const double mpi = std::exchange(mpi_seconds_, seconds_in_mpi());
  sum_.communication += mpi_seconds_ - mpi;
  sum_.*part += since_mark_.lap() - (mpi_seconds_ - mpi);
}

StepSeconds StepTimer::take() {
  add_previous();
  return std::exchange(sum_, {});
}

void StepTimer::mark(double StepSeconds::*part) {
  marks_.push_back({gpu::create_event(), part});
  gpu::record(marks_.back().event, stream_.handle());
}

// The host has waited for the gradient norm of the step since, so all of these events have been reached.
void StepTimer::add_previous() {
  for (std::size_t i = 1; i < previous_.size(); ++i) {
    sum_.*previous_[i].part += gpu::elapsed_ms(previous_[i - 1].event, previous_[i].event) / 1e3;
  }
  for (const Mark& mark : previous_) gpu::destroy_event(mark.event);
  previous_.clear();
}

}  // namespace mudelta
