// Vectors of float lanes, loaded from and stored to float or bfloat16 arrays of any length and alignment.
// Included once for each SIMD target (see Highway's foreach_target.h), hence the toggling guard.

#if defined(MUDELTA_KERNELS_SIMD_IO_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MUDELTA_KERNELS_SIMD_IO_INL_H_
#undef MUDELTA_KERNELS_SIMD_IO_INL_H_
#else
#define MUDELTA_KERNELS_SIMD_IO_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "hwy/highway.h"
#include "kernels/row_blocks.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;
constexpr FloatTag kFloatTag;
constexpr std::int64_t kLanes = hn::MaxLanes(kFloatTag);

// Which lanes of a vector an array has elements for: loads fill the others with 0, stores leave them out.
struct AllLanes {};
struct FirstLanes {
  std::int64_t count;
};

HWY_INLINE FloatVec load(const float* from, AllLanes = {}) { return hn::LoadU(kFloatTag, from); }

HWY_INLINE FloatVec load(const bfloat16* from, AllLanes = {}) {
  const hn::Rebind<std::uint16_t, FloatTag> narrow_tag;
  const hn::Rebind<std::uint32_t, FloatTag> wide_tag;
  const auto narrow = hn::LoadU(narrow_tag, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(kFloatTag, hn::ShiftLeft<16>(hn::PromoteTo(wide_tag, narrow)));
}

HWY_INLINE void store(FloatVec value, float* to, AllLanes = {}) { hn::StoreU(value, kFloatTag, to); }

// Rounds as bfloat16's constructor does: to nearest even, NaN stays NaN.
HWY_INLINE void store(FloatVec value, bfloat16* to, AllLanes = {}) {
  const hn::Rebind<std::uint16_t, FloatTag> narrow_tag;
  const hn::Rebind<std::uint32_t, FloatTag> wide_tag;
  const hn::Rebind<std::int32_t, FloatTag> signed_tag;
  const auto bits = hn::BitCast(wide_tag, value);
  const auto is_odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide_tag, 1u));
  const auto rounded = hn::Add(bits, hn::Add(is_odd, hn::Set(wide_tag, 0x7fffu)));
  const auto quiet = hn::Or(bits, hn::Set(wide_tag, 0x400000u));
  const auto is_nan = hn::RebindMask(wide_tag, hn::IsNaN(value));
  const auto upper = hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded));
  const auto narrow = hn::DemoteTo(narrow_tag, hn::BitCast(signed_tag, upper));
  hn::StoreU(narrow, narrow_tag, reinterpret_cast<std::uint16_t*>(to));
}

template <class T>
HWY_INLINE FloatVec load(const T* from, FirstLanes lanes) {
  T padded[kLanes] = {};
  std::memcpy(padded, from, static_cast<std::size_t>(lanes.count) * sizeof(T));
  return load(padded);
}

template <class T>
HWY_INLINE void store(FloatVec value, T* to, FirstLanes lanes) {
  T padded[kLanes];
  store(value, padded);
  std::memcpy(to, padded, static_cast<std::size_t>(lanes.count) * sizeof(T));
}

HWY_INLINE FloatVec broadcast(float value) { return hn::Set(kFloatTag, value); }

// `value` with the lanes that are left out replaced by `filler`.
HWY_INLINE FloatVec fill_others(FloatVec value, float, AllLanes) { return value; }
HWY_INLINE FloatVec fill_others(FloatVec value, float filler, FirstLanes lanes) {
  const auto mask = hn::FirstN(kFloatTag, static_cast<std::size_t>(lanes.count));
  return hn::IfThenElse(mask, value, broadcast(filler));
}

HWY_INLINE float sum_of_lanes(FloatVec value) { return hn::GetLane(hn::SumOfLanes(kFloatTag, value)); }

// body(i, lanes) for each vector of the elements [begin, end) of an array: i is its first element, `lanes` AllLanes, or
// FirstLanes for the rest at the end.
template <class Body>
HWY_INLINE void for_each_vector(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, AllLanes{});
  if (i < end) body(i, FirstLanes{end - i});
}

template <class Body>
HWY_INLINE void for_each_vector(std::int64_t count, const Body& body) {
  for_each_vector(0, count, body);
}

// The same, spread over the threads.
template <class Body>
void parallel_for_each_vector(std::int64_t count, const Body& body) {
  RowBlocks(count, 1).for_each([&](std::int64_t, std::int64_t begin, std::int64_t end) {
    const Body own = body;  // so that what it captured stays in registers
    for_each_vector(begin, end, own);
  });
}

}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MUDELTA_KERNELS_SIMD_IO_INL_H_
