#include "kernels/cuda/elementwise.h"
#include "kernels/slice_copy.h"

namespace mudelta::kernels::cuda {
namespace {

// SliceMap::whole_index on the device.
struct Places {
  std::int64_t begin, row, stride, first;
  __device__ std::int64_t operator()(std::int64_t i) const {
    const std::int64_t local = begin + i;
    return local / row * stride + first + local % row;
  }
};
Places places_of(const SliceMap& map, std::int64_t begin) { return {begin, map.row(), map.stride(), map.first()}; }

struct Put {
  static constexpr int kRunLength = 1;
  Places place;
  const float* part;
  float* whole;
  bool is_aligned() const { return true; }
  __device__ void operator()(std::int64_t i, auto) const { whole[place(i)] = part[i]; }
};

struct Take {
  static constexpr int kRunLength = 1;
  Places place;
  const float* whole;
  float* part;
  bool is_aligned() const { return true; }
  __device__ void operator()(std::int64_t i, auto) const { part[i] = whole[place(i)]; }
};

}  // namespace

void put_part(const SliceMap& map, std::int64_t begin, const Tensor& part, const Tensor& whole, Stream stream) {
  for_each_run(part.numel(), stream, Put{places_of(map, begin), part.data<float>(), whole.data<float>()});
}

void take_part(const SliceMap& map, std::int64_t begin, const Tensor& whole, const Tensor& part, Stream stream) {
  for_each_run(part.numel(), stream, Take{places_of(map, begin), whole.data<float>(), part.data<float>()});
}

}  // namespace mudelta::kernels::cuda
