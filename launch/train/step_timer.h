#pragma once

#include <cstdint>
#include <vector>

#include "core/device.h"
#include "dist/process_group.h"
#include "launch/job/stopwatch.h"

namespace mudelta {

// Seconds of a rank's training steps by what it did.
struct StepSeconds {
  double data = 0;              // reading rows and bringing them to the device
  double forward_backward = 0;  // and the zeroing of gradients
  // Exposed, that is while nothing is computed: on a CPU all calls into MPI; on a GPU collectives in the compute
  // stream, and those of gradients as far as backward does not hide them.
  double communication = 0;
  double update = 0;       // gradient norm, optimizer, new values
  double collectives = 0;  // all of them, those that run beside the parts above too; no part itself
  friend bool operator==(const StepSeconds&, const StepSeconds&) = default;
};

// Times steps part by part: on a CPU by the host's clock, on a GPU by events in its stream, which hold up nobody.
class StepTimer {
 public:
  // `world`: whose collectives count, and those of the groups split from it. One timer at a time.
  explicit StepTimer(Stream stream, ProcessGroup world = ProcessGroup::single());
  ~StepTimer();
  StepTimer(const StepTimer&) = delete;
  StepTimer& operator=(const StepTimer&) = delete;

  void start_step();
  // What was done since `start_step` or the last call belongs to `part`: &StepSeconds::data, for one.
  void end(double StepSeconds::*part);
  // The same, and what follows until the next step does not count.
  void end_step(double StepSeconds::*part);
  // The sum over steps since the last call; on a GPU without the step that is under way or has just been queued, whose
  // events may not have been reached: it counts the next time.
  StepSeconds take();

 private:
  struct Mark {
    gpu::EventHandle event;
    double StepSeconds::*part;  // that ends there; null at a step's start, and until it is known
  };
  void mark(double StepSeconds::*part);
  void see_collective(Stream stream, bool is_end);
  void add_and_destroy(std::vector<Mark>& marks);
  void add_previous();

  Stream stream_;
  ProcessGroup world_;
  bool within_step_ = false;
  StepSeconds sum_;
  Stopwatch since_mark_;
  double mpi_seconds_ = 0;              // at the last mark
  std::vector<Mark> previous_, marks_;  // of the step before, and of this one
  std::vector<Mark> previous_collectives_, collectives_;
};

}  // namespace mudelta
