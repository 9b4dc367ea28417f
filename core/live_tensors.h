#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>

#include "core/dtype.h"
#include "core/shape.h"

namespace mudelta {

// Tensors that would be in memory at the same time, by the bytes of their blocks. Nothing is allocated: sizes may be of
// models that fit on no machine.
class LiveTensors {
 public:
  void add(std::initializer_list<std::int64_t> sizes, DType dtype);  // one tensor of that shape
  void add(const Shape& shape, DType dtype);
  void add_bytes(double num_bytes);  // one block for so many
  void add(const LiveTensors& others) { add(1, others); }
  void add(double times, const LiveTensors& others);
  // As many of each block size as either has: what both need, one after the other, of memory in which a block keeps its
  // size (MemoryPool).
  void join(const LiveTensors& others);

  double bytes() const;

 private:
  std::map<double, double> blocks_;  // how many, by bytes
};

inline LiveTensors operator+(LiveTensors a, const LiveTensors& b) {
  a.add(b);
  return a;
}
inline const LiveTensors& larger(const LiveTensors& a, const LiveTensors& b) { return a.bytes() < b.bytes() ? b : a; }

}  // namespace mudelta
