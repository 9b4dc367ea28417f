#include "launch/job/stop_signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

#include "dist/process_group.h"

namespace mudelta {
namespace {

constexpr auto kPause = std::chrono::milliseconds(20);

// A process that catches signals and goes on for ever once it has had one, which it tells by a byte.
class Stubborn {
 public:
  Stubborn() {
    EXPECT_EQ(::pipe(pipe_), 0);
    process_ = ::fork();
    if (process_ != 0) return;
    catch_stop_signals();
    tell();
    while (!stop_signalled()) std::this_thread::sleep_for(kPause);
    tell();
    for (;;) std::this_thread::sleep_for(kPause);
  }
  ~Stubborn() {
    ::kill(process_, SIGKILL);
    if (!is_over_) ::waitpid(process_, nullptr, 0);
  }

  void send(int signal) { EXPECT_EQ(::kill(process_, signal), 0); }
  void hear() {
    char byte;
    EXPECT_EQ(::read(pipe_[0], &byte, 1), 1);
  }
  // The signal that ended it; 0: it goes on.
  int end() {
    int status = 0;
    is_over_ = ::waitpid(process_, &status, WNOHANG) == process_;
    return is_over_ && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

 private:
  void tell() { EXPECT_EQ(::write(pipe_[1], "x", 1), 1); }

  int pipe_[2] = {-1, -1};
  pid_t process_ = -1;
  bool is_over_ = false;
};

// First of all: a fork after OpenMP has threads cannot use them.
TEST(StopSignals, ASecondOneEndsTheProcess) {
  for (const auto& [first, second] : {std::pair(SIGTERM, SIGTERM), std::pair(SIGUSR1, SIGTERM)}) {
    Stubborn process;
    process.hear();
    process.send(first);
    process.hear();
    EXPECT_EQ(process.end(), 0);
    int end = 0;
    while (end == 0) {
      process.send(second);
      std::this_thread::sleep_for(kPause);
      end = process.end();
    }
    EXPECT_EQ(end, second);
  }
}

TEST(StopSignals, AnOutputThatNobodyReadsIsNoSecondSignal) {
  Stubborn process;
  process.hear();
  process.send(SIGHUP);
  process.hear();
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < std::chrono::seconds(3)) {
    process.send(SIGPIPE);
    std::this_thread::sleep_for(kPause);
  }
  EXPECT_EQ(process.end(), 0);
}

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
  std::raise(SIGPIPE);
  EXPECT_TRUE(stop_signalled());
  EXPECT_TRUE(stop_signalled(ProcessGroup::single()));
}

}  // namespace
}  // namespace mudelta
