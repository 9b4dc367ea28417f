// Elementary functions on vectors of float lanes. Relative errors are below 1e-6; NaN stays NaN.
// Included once for each SIMD target (see Highway's foreach_target.h), hence the toggling guard.

#if defined(MUDELTA_KERNELS_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MUDELTA_KERNELS_SIMD_MATH_INL_H_
#undef MUDELTA_KERNELS_SIMD_MATH_INL_H_
#else
#define MUDELTA_KERNELS_SIMD_MATH_INL_H_
#endif

#include "kernels/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {

// c[0] + c[1] x + c[2] x^2 + ...
template <std::size_t kCount>
HWY_INLINE FloatVec polynomial(FloatVec x, const float (&c)[kCount]) {
  FloatVec value = broadcast(c[kCount - 1]);
  for (std::size_t i = kCount - 1; i-- > 0;) value = hn::MulAdd(value, x, broadcast(c[i]));
  return value;
}

// e^x for x <= 88; 0 where e^x is below the smallest normal number. With x = n ln 2 + r, |r| <= ln 2 / 2, it is 2^n
// times the Taylor polynomial of e^r. ln 2 is split so that n times its upper part is exact. Adding kRounder leaves n
// in the lowest bits of the sum, from where it is shifted into the exponent of 2^n.
HWY_INLINE FloatVec exp(FloatVec x) {
  constexpr float kTaylor[] = {1, 1, 1 / 2.f, 1 / 6.f, 1 / 24.f, 1 / 120.f, 1 / 720.f};
  constexpr float kLog2E = 1.44269504f, kLn2Upper = 0.693145752f, kLn2Lower = 1.42860677e-6f;
  constexpr float kRounder = 3 << 22, kSmallest = -87.336544f;
  const hn::Rebind<std::int32_t, FloatTag> int_tag;
  const auto shifted = hn::MulAdd(x, broadcast(kLog2E), broadcast(kRounder));
  const auto n = hn::Sub(shifted, broadcast(kRounder));
  const auto r = hn::NegMulAdd(n, broadcast(kLn2Lower), hn::NegMulAdd(n, broadcast(kLn2Upper), x));
  const auto one = hn::BitCast(int_tag, broadcast(1));
  const auto power = hn::BitCast(kFloatTag, hn::Add(hn::ShiftLeft<23>(hn::BitCast(int_tag, shifted)), one));
  const auto value = hn::Mul(polynomial(r, kTaylor), power);
  return hn::IfThenZeroElse(hn::Lt(x, broadcast(kSmallest)), value);
}

// log(1 + x) for 0 <= x <= 1: 2 artanh(s) with s = x / (2 + x) <= 1/3, as its power series in s.
HWY_INLINE FloatVec log1p_of_unit(FloatVec x) {
  constexpr float kSeries[] = {1, 1 / 3.f, 1 / 5.f, 1 / 7.f, 1 / 9.f, 1 / 11.f, 1 / 13.f, 1 / 15.f};
  const auto s = hn::Div(x, hn::Add(x, broadcast(2)));
  return hn::Mul(hn::Add(s, s), polynomial(hn::Mul(s, s), kSeries));
}

HWY_INLINE FloatVec exp_of_minus_abs(FloatVec x) { return exp(hn::Neg(hn::Abs(x))); }

HWY_INLINE FloatVec sigmoid(FloatVec x) {
  const auto e = exp_of_minus_abs(x);
  const auto upper = hn::Div(broadcast(1), hn::Add(e, broadcast(1)));
  return hn::IfThenElse(hn::Ge(x, hn::Zero(kFloatTag)), upper, hn::Mul(e, upper));
}

// log(1 + e^x)
HWY_INLINE FloatVec softplus(FloatVec x) {
  return hn::Add(hn::Max(x, hn::Zero(kFloatTag)), log1p_of_unit(exp_of_minus_abs(x)));
}

// d silu(x) / dx, where silu(x) = x s and s = sigmoid(x).
HWY_INLINE FloatVec silu_derivative(FloatVec x, FloatVec s) { return hn::MulAdd(hn::NegMulAdd(s, s, s), x, s); }

}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MUDELTA_KERNELS_SIMD_MATH_INL_H_
