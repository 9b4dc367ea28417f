#include "launch/train/step_timer.h"

#include <gtest/gtest.h>

#include "dist/watchdog.h"

namespace mudelta {
namespace {

// Until the clock has moved.
void spend_time() {
  for (const Stopwatch stopwatch; stopwatch.seconds() <= 0;) {
  }
}

TEST(StepTimer, GivesEachPartItsTime) {
  StepTimer timer{Stream()};
  spend_time();  // before the step
  timer.start_step();
  spend_time();
  timer.end(&StepSeconds::update);
  const StepSeconds first = timer.take();
  EXPECT_GT(first.update, 0);
  EXPECT_EQ(first, (StepSeconds{.update = first.update}));
  EXPECT_EQ(timer.take(), StepSeconds());
}

TEST(StepTimer, CallsIntoMpiAreCommunicationWhereverTheyStand) {
  StepTimer timer{Stream()};
  timer.start_step();
  const double before = seconds_in_mpi();
  {
    const MpiCall call("MPI_Barrier");
    spend_time();
  }
  const double in_mpi = seconds_in_mpi() - before;
  EXPECT_GT(in_mpi, 0);
  timer.end(&StepSeconds::forward_backward);
  const StepSeconds seconds = timer.take();
  EXPECT_DOUBLE_EQ(seconds.communication, in_mpi);
  EXPECT_DOUBLE_EQ(seconds.collectives, in_mpi);
  EXPECT_GE(seconds.forward_backward, 0);
  EXPECT_EQ(seconds.update, 0);
}

}  // namespace
}  // namespace mudelta
