#pragma once

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "simt/fibers.h"
#include "simt/launch.h"
#include "simt/race_check.h"
#include "simt/warp_operations.h"

namespace mudelta::simt {

constexpr int kWarpSize = 32;
constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / kWarpSize;
constexpr int kNumBarriers = 16;

// What one lane brings to a warp operation, and takes from it.
struct Operands {
  std::uint64_t bits = 0;      // shuffle: value; ballot: predicate; both: result
  int source_lane = 0;         // shuffle
  const void* row = nullptr;   // load_matrices
  const void* code = nullptr;  // who asks, for reports
  Accumulators c{};
  std::array<std::uint32_t, 4> a{};  // load_matrices: result
  std::array<std::uint32_t, 2> b{};
};

class Block;

struct WarpOperation {
  std::string_view name;
  bool needs_whole_warp;
  // Called by the last of the lanes `mask` to arrive. `lanes` are the operands of the whole warp.
  void (*complete)(Block& block, int warp, std::uint32_t mask);
};

// The block that is running: its threads, and who of them waits for what. One object runs all blocks of a process, one
// after another.
class Block {
 public:
  Block();

  // Runs block `index` to its end; throws what its first failing thread threw.
  void run(const Launch& configuration, dim3 index, Schedule schedule);

  // Called by the running thread. Arrives at `operation` with `mask` and the operands put into operands(); returns when
  // the operation is complete.
  void meet_warp(const WarpOperation& operation, std::uint32_t mask);
  void meet_barrier(int id, int threads);
  Operands& operands() { return operands_[static_cast<std::size_t>(running_)]; }
  std::span<Operands, kWarpSize> operands_of_warp(int warp) {
    return std::span<Operands, kWarpSize>(&operands_[static_cast<std::size_t>(warp * kWarpSize)], kWarpSize);
  }
  void start_copy(void* shared, const void* global, const void* code);  // from null: zeros
  void commit_copies();
  void wait_for_copies(int pending_groups, const void* code);

  int running() const { return running_; }
  int running_warp() const { return running_ / kWarpSize; }
  int running_lane() const { return running_ % kWarpSize; }
  int num_threads() const { return launch_->num_threads; }
  std::int64_t shared_bytes() const { return launch_->shared_bytes; }
  RaceCheck& races() { return races_; }

  // Throws Error: "kernel K, block B, thread T: " and the message.
  template <class... Args>
  [[noreturn]] void fail_here(fmt::format_string<Args...> message, Args&&... args) const {
    throw Error(whereabouts() + fmt::format(message, std::forward<Args>(args)...));
  }
  template <class... Args>
  void require_here(bool condition, fmt::format_string<Args...> message, Args&&... args) const {
    if (!condition) [[unlikely]]
      fail_here(message, std::forward<Args>(args)...);
  }
  // The kernel fails with this as soon as the running thread gives way: for callers that must not throw.
  void fail_later(const std::string& message);

 private:
  struct Copy {
    std::byte* to;
    const std::byte* from;  // null: zeros
    int group;
  };
  struct Thread {
    const WarpOperation* operation = nullptr;  // waited for, or null
    std::uint32_t mask = 0;
    int barrier = -1;  // waited for, or -1
    bool started = false;
    bool returned = false;
    int num_groups = 0;  // of copies, committed
    std::vector<Copy> copies;
  };
  struct Barrier {
    int num_arrived = 0;
    int num_expected = 0;
    std::array<std::uint32_t, kMaxWarps> waiting{};  // lanes of each warp
  };
  class Unwind {};  // thrown into the threads of a block that has failed

  void run_thread(int index);
  void finish_thread();
  void perform_copy(const Copy& copy, const void* code);
  bool warp_is_complete(const WarpOperation& operation, std::uint32_t required) const;
  void release_barrier_if_complete(int id);
  void give_way();
  void switch_to(int next);
  void keep_failure(std::exception_ptr failure);
  void unwind_threads();
  int next_runnable();
  std::uint64_t random();
  void set_runnable(int warp, std::uint32_t lanes);
  void clear_runnable(int index);
  std::string whereabouts() const;
  std::string describe_deadlock() const;

  Thread& thread(int index) { return threads_[static_cast<std::size_t>(index)]; }
  const Thread& thread(int index) const { return threads_[static_cast<std::size_t>(index)]; }

  const Launch* launch_ = nullptr;
  Schedule schedule_;
  std::uint64_t random_state_ = 1;
  int running_ = Fibers::kHost;
  int num_alive_ = 0;
  bool unwinding_ = false;
  std::exception_ptr failure_;
  std::array<std::uint32_t, kMaxWarps> existing_{};  // lanes of each warp
  std::array<std::uint32_t, kMaxWarps> runnable_{};
  std::uint32_t runnable_warps_ = 0;
  std::array<std::uint32_t, kMaxWarps> at_operation_{};
  std::array<Barrier, kNumBarriers> barriers_;
  std::array<Thread, kMaxThreads> threads_;
  std::array<Operands, kMaxThreads> operands_;
  RaceCheck races_;
  Fibers fibers_;
};

// The block that this host thread runs; null outside launches.
extern constinit thread_local Block* running_block;

}  // namespace mudelta::simt
