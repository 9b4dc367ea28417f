#include "simt/block.h"

#include <algorithm>
#include <cstring>

#include "simt/code_location.h"
#include "simt/shared_memory.h"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace mudelta::simt {

constinit thread_local Block* running_block = nullptr;

Block::Block() : fibers_([](void* block, int fiber) { static_cast<Block*>(block)->run_thread(fiber); }, this) {}

void Block::run(const Launch& configuration, dim3 index, Schedule schedule) {
  launch_ = &configuration;
  schedule_ = schedule;
  random_state_ = (schedule.seed + 1) * 0x9e3779b97f4a7c15u | 1u;
  blockIdx = {index.x, index.y, index.z};
  blockDim = dim3(static_cast<unsigned>(configuration.num_threads));
  gridDim = configuration.grid;

  num_alive_ = configuration.num_threads;
  unwinding_ = false;
  failure_ = nullptr;
  at_operation_ = {};
  runnable_ = {};
  runnable_warps_ = 0;
  barriers_ = {};
  for (int t = 0; t < configuration.num_threads; ++t) {
    Thread& fresh = thread(t);
    fresh.operation = nullptr;
    fresh.barrier = -1;
    fresh.started = fresh.returned = false;
    fresh.num_groups = 0;
    fresh.copies.clear();
  }
  for (int w = 0; w < kMaxWarps; ++w) {
    const int lanes = std::clamp(configuration.num_threads - w * kWarpSize, 0, kWarpSize);
    existing_[static_cast<std::size_t>(w)] = static_cast<std::uint32_t>((std::uint64_t{1} << lanes) - 1);
    if (lanes > 0) set_runnable(w, existing_[static_cast<std::size_t>(w)]);
  }
  races_.begin_block(index);
  fill_shared_memory();

  running_block = this;
  switch_to(next_runnable());
  if (failure_) unwind_threads();
  running_block = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// The body of a fiber: one thread of one block.
void Block::run_thread(int index) {
  thread(index).started = true;
  try {
    launch_->run_thread(launch_->data);
    constexpr int kUncommittedToo = -1;
    wait_for_copies(kUncommittedToo, launch_->kernel);
  } catch (const Unwind&) {
    // The block has failed already.
  } catch (const Error&) {
    keep_failure(std::current_exception());
  } catch (const std::exception& exception) {
    keep_failure(std::make_exception_ptr(Error(whereabouts() + exception.what())));
  }
  finish_thread();
}

void Block::finish_thread() {
  thread(running_).returned = true;
  --num_alive_;
  clear_runnable(running_);
  if (barriers_[0].num_arrived > 0) release_barrier_if_complete(0);
  if (failure_ || num_alive_ == 0) {
    switch_to(Fibers::kHost);
  } else {
    give_way();
  }
}

void Block::meet_warp(const WarpOperation& operation, std::uint32_t mask) {
  const int warp = running_warp();
  const auto w = static_cast<std::size_t>(warp);
  const std::uint32_t self = 1u << running_lane();
  require_here((mask & self) != 0, "{} with the mask {:#010x}, which lacks the calling lane", operation.name, mask);
  require_here(!operation.needs_whole_warp || existing_[w] == 0xffffffffu,
               "{} needs 32 threads in every warp, and this block has {} threads", operation.name, num_threads());

  Thread& self_thread = thread(running_);
  self_thread.operation = &operation;
  self_thread.mask = mask;
  at_operation_[w] |= self;
  const std::uint32_t required = mask & existing_[w];
  if ((at_operation_[w] & required) == required && warp_is_complete(operation, required)) {
    operation.complete(*this, warp, required);
    at_operation_[w] &= ~required;
    for (std::uint32_t rest = required; rest != 0; rest &= rest - 1) {
      thread(warp * kWarpSize + std::countr_zero(rest)).operation = nullptr;
    }
    set_runnable(warp, required);
    if (failure_) give_way();
  } else {
    clear_runnable(running_);
    give_way();
  }
}

bool Block::warp_is_complete(const WarpOperation& operation, std::uint32_t required) const {
  const Thread& self = thread(running_);
  for (std::uint32_t rest = required; rest != 0; rest &= rest - 1) {
    const Thread& other = thread(running_warp() * kWarpSize + std::countr_zero(rest));
    if (other.operation != &operation || other.mask != self.mask) return false;
  }
  return true;
}

void Block::meet_barrier(int id, int threads) {
  Barrier& barrier = barriers_[static_cast<std::size_t>(id)];
  require_here(barrier.num_arrived == 0 || barrier.num_expected == threads,
               "barrier {} of {} threads, where others wait with {}", id, threads, barrier.num_expected);
  barrier.num_expected = threads;
  ++barrier.num_arrived;
  barrier.waiting[static_cast<std::size_t>(running_warp())] |= 1u << running_lane();
  thread(running_).barrier = id;
  clear_runnable(running_);
  release_barrier_if_complete(id);
  give_way();
}

// Barrier 0 is of the whole block, where threads that have returned count as arrived; others are of whole warps.
void Block::release_barrier_if_complete(int id) {
  Barrier& barrier = barriers_[static_cast<std::size_t>(id)];
  if (barrier.num_arrived != (id == 0 ? num_alive_ : barrier.num_expected)) return;
  std::uint32_t warps = 0;
  for (int w = 0; w < kMaxWarps; ++w) {
    const std::uint32_t lanes = barrier.waiting[static_cast<std::size_t>(w)];
    if (lanes == 0) continue;
    require_here(id == 0 || lanes == existing_[static_cast<std::size_t>(w)],
                 "barrier {} is complete with lanes {:#010x} of warp {}: bar.sync is for whole warps", id, lanes, w);
    warps |= 1u << w;
    set_runnable(w, lanes);
    for (std::uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      thread(w * kWarpSize + std::countr_zero(rest)).barrier = -1;
    }
  }
  barrier = {};
  if (id == 0) {
    races_.order_block();
  } else {
    races_.order_warps(warps);
  }
}

void Block::start_copy(void* shared, const void* global, const void* code) {
  Thread& self = thread(running_);
  self.copies.push_back({static_cast<std::byte*>(shared), static_cast<const std::byte*>(global), self.num_groups});
  races_.write(shared, 16, running_, code);
  if (global != nullptr) races_.read(global, 16, running_, code);
}

void Block::commit_copies() { ++thread(running_).num_groups; }

void Block::wait_for_copies(int pending_groups, const void* code) {
  Thread& self = thread(running_);
  if (self.copies.empty()) return;
  const auto pending = std::ranges::find_if(
      self.copies, [&](const Copy& copy) { return copy.group >= self.num_groups - pending_groups; });
  for (auto copy = self.copies.begin(); copy != pending; ++copy) perform_copy(*copy, code);
  self.copies.erase(self.copies.begin(), pending);
}

void Block::perform_copy(const Copy& copy, const void* code) {
  races_.write(copy.to, 16, running_, code);
  if (copy.from != nullptr) {
    races_.read(copy.from, 16, running_, code);
    std::memcpy(copy.to, copy.from, 16);
  } else {
    std::memset(copy.to, 0, 16);
  }
}

// Lets another thread run, and returns when this one may go on.
void Block::give_way() {
  if (failure_) {
    switch_to(Fibers::kHost);
  } else {
    const int next = next_runnable();
    if (next == Fibers::kHost) keep_failure(std::make_exception_ptr(Error(describe_deadlock())));
    if (next != running_) switch_to(next);
  }
  if (unwinding_ && !thread(running_).returned) throw Unwind();
}

__attribute__((noinline)) void Block::switch_to(int next) {
  const int from = running_;
  running_ = next;
  threadIdx.x = static_cast<unsigned>(next);
  fibers_.switch_to(from, next);
}

void Block::keep_failure(std::exception_ptr failure) {
  if (!failure_) failure_ = std::move(failure);
}

void Block::fail_later(const std::string& message) {
  if (failure_) return;
  keep_failure(std::make_exception_ptr(Error(whereabouts() + message)));
}

void Block::unwind_threads() {
  unwinding_ = true;
  for (int t = 0; t < num_threads(); ++t) {
    if (thread(t).started && !thread(t).returned) switch_to(t);
  }
}

void Block::set_runnable(int warp, std::uint32_t lanes) {
  runnable_[static_cast<std::size_t>(warp)] |= lanes;
  runnable_warps_ |= 1u << warp;
}

void Block::clear_runnable(int index) {
  const int warp = index / kWarpSize;
  std::uint32_t& lanes = runnable_[static_cast<std::size_t>(warp)];
  lanes &= ~(1u << (index % kWarpSize));
  if (lanes == 0) runnable_warps_ &= ~(1u << warp);
}

std::uint64_t Block::random() {  // xorshift64
  random_state_ ^= random_state_ << 13;
  random_state_ ^= random_state_ >> 7;
  random_state_ ^= random_state_ << 17;
  return random_state_;
}

int Block::next_runnable() {
  if (runnable_warps_ == 0) return Fibers::kHost;
  const auto choose = [this](std::uint32_t candidates) {
    switch (schedule_.order) {
      case Schedule::Order::kAscending: break;
      case Schedule::Order::kDescending: return 31 - std::countl_zero(candidates);
      case Schedule::Order::kRandom: {
        const int offset = static_cast<int>(random() >> 59);
        return (std::countr_zero(std::rotr(candidates, offset)) + offset) % 32;
      }
    }
    return std::countr_zero(candidates);
  };
  const int warp = choose(runnable_warps_);
  return warp * kWarpSize + choose(runnable_[static_cast<std::size_t>(warp)]);
}

std::string Block::whereabouts() const {
  return fmt::format("kernel {}, block ({}, {}, {}), thread {}: ", function_at(launch_->kernel), blockIdx.x, blockIdx.y,
                     blockIdx.z, running_);
}

// Every group of threads that waits for the same.
std::string Block::describe_deadlock() const {
  std::string text = whereabouts() + "threads wait for each other for ever:";
  for (int w = 0; w * kWarpSize < num_threads(); ++w) {
    for (std::uint32_t rest = existing_[static_cast<std::size_t>(w)]; rest != 0;) {
      const Thread& first = thread(w * kWarpSize + std::countr_zero(rest));
      std::uint32_t lanes = 0;
      for (std::uint32_t others = rest; others != 0; others &= others - 1) {
        const int lane = std::countr_zero(others);
        const Thread& other = thread(w * kWarpSize + lane);
        if (other.returned == first.returned && other.barrier == first.barrier && other.operation == first.operation &&
            (other.operation == nullptr || other.mask == first.mask)) {
          lanes |= 1u << lane;
        }
      }
      rest &= ~lanes;
      text += fmt::format(" warp {} lanes {:#010x} ", w, lanes);
      if (first.returned) {
        text += "have returned;";
      } else if (first.operation != nullptr) {
        text += fmt::format("at {} of lanes {:#010x};", first.operation->name, first.mask);
      } else if (first.barrier == 0) {
        text += "at __syncthreads;";
      } else {
        const Barrier& barrier = barriers_[static_cast<std::size_t>(first.barrier)];
        text +=
            fmt::format("at barrier {} ({} of {} threads);", first.barrier, barrier.num_arrived, barrier.num_expected);
      }
    }
  }
  text.pop_back();
  return text;
}

}  // namespace mudelta::simt
