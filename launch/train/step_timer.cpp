#include "launch/train/step_timer.h"

#include <ranges>
#include <utility>

#include "dist/watchdog.h"

namespace mudelta {

StepTimer::StepTimer(Stream stream, ProcessGroup world) : stream_(stream), world_(std::move(world)) {
  if (!stream_.device().is_cuda()) return;
  world_.observe([this](Stream of_collective, bool is_end) { see_collective(of_collective, is_end); });
}

StepTimer::~StepTimer() {
  if (stream_.device().is_cuda()) world_.observe({});
  for (const std::vector<Mark>& marks : {previous_, marks_, previous_collectives_, collectives_}) {
    for (const Mark& mark : marks) gpu::destroy_event(mark.event);
  }
}

void StepTimer::start_step() {
  within_step_ = true;
  if (stream_.device().is_cuda()) {
    add_previous();
    previous_ = std::exchange(marks_, {});
    previous_collectives_ = std::exchange(collectives_, {});
    mark(nullptr);
  } else {
    since_mark_.lap();
    mpi_seconds_ = seconds_in_mpi();
  }
}

void StepTimer::end(double StepSeconds::*part) {
  if (stream_.device().is_cuda()) {
    mark(part);
    // Parts that collectives cut short.
    for (Mark& mark : marks_ | std::views::drop(1)) mark.part = mark.part == nullptr ? part : mark.part;
    return;
  }
  const double mpi = std::exchange(mpi_seconds_, seconds_in_mpi());
  sum_.communication += mpi_seconds_ - mpi;
  sum_.collectives += mpi_seconds_ - mpi;
  sum_.*part += since_mark_.lap() - (mpi_seconds_ - mpi);
}

void StepTimer::end_step(double StepSeconds::*part) {
  end(part);
  within_step_ = false;
}

// The compute stream waits for a collective that is queued in it; those of other streams run beside it.
void StepTimer::see_collective(Stream stream, bool is_end) {
  if (!within_step_ || !stream.device().is_cuda()) return;
  if (stream.handle() == stream_.handle()) mark(is_end ? &StepSeconds::communication : nullptr);
  collectives_.push_back({gpu::create_event(), is_end ? &StepSeconds::collectives : nullptr});
  gpu::record(collectives_.back().event, stream.handle());
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
  add_and_destroy(previous_);
  add_and_destroy(previous_collectives_);
}

void StepTimer::add_and_destroy(std::vector<Mark>& marks) {
  for (std::size_t i = 1; i < marks.size(); ++i) {
    if (marks[i].part == nullptr) continue;
    sum_.*marks[i].part += gpu::elapsed_ms(marks[i - 1].event, marks[i].event) / 1e3;
  }
  for (const Mark& mark : marks) gpu::destroy_event(mark.event);
  marks.clear();
}

}  // namespace mudelta
