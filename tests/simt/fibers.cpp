#include "simt/fibers.h"

#include <boost/context/preallocated.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <memory>
#include <utility>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace mudelta::simt {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kStackBytes = 512 * 1024;
#else
constexpr std::size_t kStackBytes = 128 * 1024;
#endif

}  // namespace

void Fibers::create(int fiber) {
  boost::context::protected_fixedsize_stack allocator(kStackBytes);
  const boost::context::stack_context memory = allocator.allocate();
  const std::size_t index = static_cast<std::size_t>(fiber);
  // Stacks begin at different places of their pages, lest their hot ends compete for the same lines of the cache.
  const std::size_t unused_bytes = index % 16 * 256;
  stacks_[index] = {.bottom = static_cast<const std::byte*>(memory.sp) - memory.size, .size = memory.size};
  suspended_[index] =
      boost::context::fiber(std::allocator_arg,
                            boost::context::preallocated(static_cast<std::byte*>(memory.sp) - unused_bytes,
                                                         memory.size - unused_bytes, memory),
                            allocator, [this, fiber](boost::context::fiber&& caller) {
                              run(fiber);
                              return std::move(caller);
                            });
}

void Fibers::run(int fiber) {
  finish_switch(fiber);
  for (;;) body_(owner_, fiber);
}

void Fibers::switch_to(int from, int to) {
  boost::context::fiber& target = suspended_[static_cast<std::size_t>(to)];
  if (!target) create(to);
  begin_switch(from, to);
  // Runs on the stack of `to`, with what is left of `from`.
  const auto keep = [slot = &suspended_[static_cast<std::size_t>(from)]](boost::context::fiber&& previous) {
    *slot = std::move(previous);
    return boost::context::fiber();
  };
  std::move(target).resume_with(keep);
  finish_switch(from);
}

#ifdef __SANITIZE_ADDRESS__
void Fibers::begin_switch(int from, int to) {
  left_ = from;
  const Stack& target = stacks_[static_cast<std::size_t>(to)];
  __sanitizer_start_switch_fiber(&stacks_[static_cast<std::size_t>(from)].fake_stack, target.bottom, target.size);
}

void Fibers::finish_switch(int to) {
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(stacks_[static_cast<std::size_t>(to)].fake_stack, &bottom, &size);
  Stack& left = stacks_[static_cast<std::size_t>(left_)];
  left.bottom = bottom, left.size = size;
}
#else
void Fibers::begin_switch(int, int) {}
void Fibers::finish_switch(int) {}
#endif

}  // namespace mudelta::simt
