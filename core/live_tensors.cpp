#include "core/live_tensors.h"

#include <algorithm>

#include "core/block_size.h"

namespace mudelta {
namespace {

constexpr double kRoundedBytes = 0x1p60;  // above, rounding to a block does not matter, and integers would overflow

double block_of(double num_bytes) {
  return num_bytes < kRoundedBytes ? static_cast<double>(block_size(static_cast<std::int64_t>(num_bytes))) : num_bytes;
}

}  // namespace

void LiveTensors::add(std::initializer_list<std::int64_t> sizes, DType dtype) {
  auto num_bytes = static_cast<double>(size_of(dtype));
  for (const std::int64_t size : sizes) num_bytes *= static_cast<double>(size);
  add_bytes(num_bytes);
}

void LiveTensors::add(const Shape& shape, DType dtype) {
  add_bytes(static_cast<double>(shape.numel()) * static_cast<double>(size_of(dtype)));
}

void LiveTensors::add_bytes(double num_bytes) { ++blocks_[block_of(num_bytes)]; }

void LiveTensors::add(double times, const LiveTensors& others) {
  for (const auto& [bytes, count] : others.blocks_) blocks_[bytes] += times * count;
}

void LiveTensors::join(const LiveTensors& others) {
  for (const auto& [bytes, count] : others.blocks_) blocks_[bytes] = std::max(blocks_[bytes], count);
}

double LiveTensors::bytes() const {
  double total = 0;
  for (const auto& [bytes, count] : blocks_) total += bytes * count;
  return total;
}

}  // namespace mudelta
