#pragma once

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/tensor.h"
#include "tests/support/device.h"

namespace mudelta::testing {

// Makes tensors on the device that have NaN bits before and behind them: reads beyond the last row show in results, and
// writes there are seen at the end. With MUDELTA_EXACT_BLOCKS tensors stand alone, and a checker sees either.
class Guards {
 public:
  // Undefined for an undefined tensor.
  Tensor copy(const Tensor& host) { return host ? place(host.shape(), host.dtype(), host) : Tensor(); }
  Tensor empty(const Shape& shape, DType dtype) { return place(shape, dtype, {}); }

  // No guard has been written to.
  bool are_untouched() const {
    return std::ranges::all_of(guards_, [](const Tensor& guard) {
      const Tensor host = guard.to(Device());
      return std::all_of(host.raw(), host.raw() + host.num_bytes(), [](std::byte byte) { return byte == kNan; });
    });
  }

 private:
  static constexpr std::int64_t kGuardBytes = 4096;
  static constexpr std::byte kNan{0xff};

  Tensor place(const Shape& shape, DType dtype, const Tensor& content) {
    static const bool is_exact = std::getenv("MUDELTA_EXACT_BLOCKS") != nullptr;
    const std::int64_t guard = is_exact ? 0 : kGuardBytes / size_of(dtype);
    const Tensor host = Tensor::empty({guard + shape.numel() + guard}, dtype);
    std::fill_n(host.raw(), host.num_bytes(), kNan);
    if (content) host.flat_view(guard, shape).copy_from(content);
    const Tensor all = host.to(device());
    if (guard > 0) {
      guards_.push_back(all.slice(0, guard));
      guards_.push_back(all.slice(guard + shape.numel(), all.numel()));
    }
    return all.flat_view(guard, shape);
  }

  std::vector<Tensor> guards_;
};

}  // namespace mudelta::testing
