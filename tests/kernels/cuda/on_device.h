#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/support/device.h"
#include "tests/support/guarded.h"
#include "tests/support/op_case.h"
#ifdef MUDELTA_EMULATED
#include "simt/launch.h"
#endif

namespace mudelta::testing {

using Tensors = std::vector<Tensor>;
using Op = std::function<void(const Tensors&, Stream)>;

// f() with the emulator's threads and blocks in another order; on a GPU, whose order is never the same, just f().
template <class F>
auto with_other_schedule(const F& f) {
#ifdef MUDELTA_EMULATED
  const simt::Schedule usual = simt::current_schedule();
  simt::set_schedule({simt::Schedule::Order::kRandom, 1});
  const auto result = f();
  simt::set_schedule(usual);
  return result;
#else
  return f();
#endif
}

// Runs `op` on copies of `tensors`, its inputs and outputs, of which some may be undefined; returns the copies, on the
// host.
inline Tensors run_on(Device device, const Tensors& tensors, const Op& op) {
  Tensors copies;
  Guards guards;
  for (const Tensor& tensor : tensors)
    copies.push_back(device.is_cuda() ? guards.copy(tensor) : tensor ? tensor.clone() : tensor);
  op(copies, Stream(device));
  for (Tensor& copy : copies) copy = copy ? copy.to(Device()) : copy;
  EXPECT_TRUE(guards.are_untouched());
  return copies;
}

inline double device_tolerance(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return 1e-5;
    case DType::kBFloat16: return 3e-4;  // here and there a value is rounded the other way
    case DType::kFloat64: return 1e-12;
    case DType::kInt32: return 0;
  }
  return 0;
}

// Expects `op` to leave in all tensors on the device what it does on the host, and the same bits when it runs again.
// Float32 results of cancellation may be off by `absolute`.
inline void expect_as_on_host(const Tensors& tensors, const Op& op, double absolute = 0) {
  const Tensors expected = run_on(Device(), tensors, op), actual = run_on(device(), tensors, op);
  const Tensors again = with_other_schedule([&] { return run_on(device(), tensors, op); });
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!expected[i]) continue;
    EXPECT_TRUE(same_bits(again[i], actual[i])) << "tensor " << i << ", run again";
    if (expected[i].dtype() == DType::kInt32) {
      EXPECT_TRUE(same_bits(actual[i], expected[i])) << "tensor " << i;
    } else {
      EXPECT_TRUE(close(actual[i], expected[i], device_tolerance(expected[i].dtype()), absolute))
          << "tensor " << i << ", " << expected[i].to_string();
    }
  }
}

// As expect_as_on_host, with one after the other of the tensors an element behind an aligned address.
inline void expect_unaligned_as_on_host(const Tensors& tensors, const Op& op) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    SCOPED_TRACE("tensor " + std::to_string(i) + " is not aligned");
    const auto view = [&](const Tensor& shifted) { return shifted.flat_view(1, tensors[i].shape()); };
    Tensors arguments = tensors;
    arguments[i] = Tensor::zeros({tensors[i].numel() + 1}, tensors[i].dtype());
    view(arguments[i]).copy_from(tensors[i]);
    expect_as_on_host(arguments, [&](Tensors t, Stream stream) {
      t[i] = view(t[i]);
      op(t, stream);
    });
  }
}

}  // namespace mudelta::testing
