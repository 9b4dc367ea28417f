#pragma once

#include <array>
#include <boost/context/fiber.hpp>
#include <cstddef>

namespace mudelta::simt {

// Stacks on which up to kCount bodies run in turns on one host thread. Created when first used and never given back: a
// body that has run waits on its stack for the next call.
class Fibers {
 public:
  static constexpr int kCount = 1024;
  static constexpr int kHost = kCount;  // whoever uses the fibers, on the host thread's own stack

  // Fiber i calls body(owner, i) again and again. The body gives way by switch_to alone and must let no exception out.
  using Body = void (*)(void* owner, int fiber);
  Fibers(Body body, void* owner) : body_(body), owner_(owner) {}
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  // Leaves `from`, which is running, for `to`; returns when something switches back to `from`.
  void switch_to(int from, int to);

 private:
  // What AddressSanitizer must know of a stack that is left and entered again.
  struct Stack {
    const void* bottom = nullptr;
    std::size_t size = 0;
    void* fake_stack = nullptr;
  };

  void create(int fiber);
  void run(int fiber);
  void begin_switch(int from, int to);
  void finish_switch(int to);

  Body body_;
  void* owner_;
  int left_ = kHost;  // which fiber the last switch left
  std::array<boost::context::fiber, kCount + 1> suspended_;
  std::array<Stack, kCount + 1> stacks_;
};

}  // namespace mudelta::simt
