#include "launch/job/stop_signals.h"

#include <gtest/gtest.h>

#include <csignal>

#include "dist/process_group.h"

namespace mudelta {
namespace {

TEST(StopSignals, AreCaughtOnAStackOfTheirOwn) {
  catch_stop_signals();
  stack_t stack{};
  ASSERT_EQ(sigaltstack(nullptr, &stack), 0);
  EXPECT_EQ(stack.ss_flags & SS_DISABLE, 0);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGPIPE}) {
    struct sigaction action {};
    ASSERT_EQ(sigaction(signal, nullptr, &action), 0);
    EXPECT_NE(action.sa_flags & SA_ONSTACK, 0) << signal;
  }
  EXPECT_FALSE(stop_signalled());
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGPIPE}) std::raise(signal);
  EXPECT_TRUE(stop_signalled());
  EXPECT_TRUE(stop_signalled(ProcessGroup::single()));
}

}  // namespace
}  // namespace mudelta
