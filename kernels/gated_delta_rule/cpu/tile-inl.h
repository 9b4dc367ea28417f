// Small dense float32 products and triangular solves. The rows and columns of all results are multiples of kPadding,
// and the rows of all matrices are aligned to a vector.
// Included once for each SIMD target (see Highway's foreach_target.h), hence the toggling guard.

#if defined(MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_TILE_INL_H_
#undef MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_TILE_INL_H_
#else
#define MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_TILE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/gated_delta_rule/cpu/plan.h"
#include "kernels/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE {

using namespace mudelta::kernels::HWY_NAMESPACE;  // of simd/io-inl.h

static_assert(kPadding % kLanes == 0);

// Registers: kTileRows x kTileVectors sums, a row of B and a broadcast element of A.
constexpr int kTileVectors = 3;
constexpr int kTileRows = kLanes == 16 ? 8 : 4;  // AVX-512 has 32 registers, the others 16

// A matrix or its transpose, read element by element: (i, k) is data[i * row_stride + k * column_stride].
struct Left {
  const float* data;
  std::ptrdiff_t row_stride;
  std::ptrdiff_t column_stride;

  Left from_row(std::int64_t i) const { return {data + i * row_stride, row_stride, column_stride}; }
  float operator()(std::int64_t i, std::int64_t k) const { return data[i * row_stride + k * column_stride]; }
};
inline Left plain(Matrix a) { return {a.data, a.stride, 1}; }
inline Left transposed(Matrix a) { return {a.data, 1, a.stride}; }

struct ProductSize {
  std::int64_t rows, inner, columns;
};

enum class Triangle {
  kNone,
  kLowerLeft,    // A(i, k) is zero for k > i: those products are skipped
  kUpperLeft,    // A(i, k) is zero for k < i
  kLowerResult,  // row i of C is needed in the columns below round_up(i + 1, kPadding) only
};

// body<kVectors>(column) for each panel of kVectors vectors that `columns` columns are cut into: of kTileVectors where
// possible, but 2 + 2 rather than 3 + 1.
template <class Body>
HWY_INLINE void for_each_panel(std::int64_t columns, const Body& body) {
  for (std::int64_t column = 0; column < columns;) {
    const std::int64_t remaining = (columns - column) / kLanes;
    const std::int64_t vectors = remaining == 4 ? 2 : std::min<std::int64_t>(remaining, kTileVectors);
    if (vectors == 3) {
      body.template operator()<3>(column);
    } else if (vectors == 2) {
      body.template operator()<2>(column);
    } else {
      body.template operator()<1>(column);
    }
    column += vectors * kLanes;
  }
}

// kTileRows rows of kVectors vectors each, in registers.
template <int kVectors>
struct RegisterTile {
  FloatVec rows[kTileRows][kVectors];

  HWY_INLINE void set_zero() {
    for (auto& row : rows) {
      for (auto& vector : row) vector = hn::Zero(kFloatTag);
    }
  }
  HWY_INLINE void load(Matrix from, float factor) {
    const auto factors = broadcast(factor);
    for (int i = 0; i < kTileRows; ++i) {
      for (int j = 0; j < kVectors; ++j) {
        rows[i][j] = hn::Mul(factors, hn::Load(kFloatTag, from.row(i) + j * kLanes));
      }
    }
  }
  HWY_INLINE void store(Matrix to) const {
    for (int i = 0; i < kTileRows; ++i) {
      for (int j = 0; j < kVectors; ++j) hn::Store(rows[i][j], kFloatTag, to.row(i) + j * kLanes);
    }
  }
  // Row i += a(i, k) times row k of b, or -=.
  template <bool kSubtract = false>
  HWY_INLINE void add_product(Left a, Matrix b, std::int64_t k) {
    FloatVec b_row[kVectors];
    for (int j = 0; j < kVectors; ++j) b_row[j] = hn::Load(kFloatTag, b.row(k) + j * kLanes);
    for (int i = 0; i < kTileRows; ++i) {
      const auto element = broadcast(a(i, k));
      for (int j = 0; j < kVectors; ++j) {
        rows[i][j] =
            kSubtract ? hn::NegMulAdd(element, b_row[j], rows[i][j]) : hn::MulAdd(element, b_row[j], rows[i][j]);
      }
    }
  }
  // Row i -= l(i, first + k) times row k of the tile itself, for all i > k, k by k.
  HWY_INLINE void substitute(Left l, std::int64_t first) {
    for (int k = 0; k < kTileRows; ++k) {
      for (int i = k + 1; i < kTileRows; ++i) {
        const auto element = broadcast(l(i, first + k));
        for (int j = 0; j < kVectors; ++j) rows[i][j] = hn::NegMulAdd(element, rows[k][j], rows[i][j]);
      }
    }
  }
};

// The panel of C that begins at first_column; b and c point there.
template <int kVectors>
HWY_INLINE void multiply_columns(Left a, Matrix b, Matrix c, ProductSize size, float c_scale, Triangle triangle,
                                 std::int64_t first_column) {
  for (std::int64_t i = 0; i < size.rows; i += kTileRows) {
    if (triangle == Triangle::kLowerResult && first_column >= round_up(i + kTileRows, kPadding)) continue;
    const std::int64_t k_begin = triangle == Triangle::kUpperLeft ? i : 0;
    const std::int64_t k_end = triangle == Triangle::kLowerLeft ? i + kTileRows : size.inner;
    RegisterTile<kVectors> tile;
    if (c_scale == 0) {
      tile.set_zero();
    } else {
      tile.load(c.from_row(i), c_scale);
    }
    for (std::int64_t k = k_begin; k < k_end; ++k) tile.add_product(a.from_row(i), b, k);
    tile.store(c.from_row(i));
  }
}

// C = c_scale C + A B, with A [rows, inner], B [inner, columns], C [rows, columns]. With c_scale = 0, C is not read.
inline HWY_NOINLINE void multiply(Left a, Matrix b, Matrix c, ProductSize size, float c_scale,
                                  Triangle triangle = Triangle::kNone) {
  for_each_panel(size.columns, [&]<int kVectors>(std::int64_t column) {
    multiply_columns<kVectors>(a, b.from_column(column), c.from_column(column), size, c_scale, triangle, column);
  });
}

template <int kVectors>
HWY_INLINE void solve_columns(Left l, Matrix x, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows; i += kTileRows) {
    RegisterTile<kVectors> tile;
    tile.load(x.from_row(i), 1);
    for (std::int64_t k = 0; k < i; ++k) tile.template add_product<true>(l.from_row(i), x, k);
    tile.substitute(l.from_row(i), i);
    tile.store(x.from_row(i));
  }
}

// X = (I + L)^-1 X by forward substitution, reading L below its diagonal only. L [rows, rows], X [rows, columns].
inline HWY_NOINLINE void solve_unit_lower(Left l, Matrix x, std::int64_t rows, std::int64_t columns) {
  for_each_panel(columns,
                 [&]<int kVectors>(std::int64_t column) { solve_columns<kVectors>(l, x.from_column(column), rows); });
}

// X = (I + L^T)^-1 X by backward substitution: the same with the order of all rows reversed.
inline void solve_unit_lower_transposed(Matrix l, Matrix x, std::int64_t rows, std::int64_t columns) {
  const Left reversed{l.row(rows - 1) + (rows - 1), -1, -l.stride};
  solve_unit_lower(reversed, {x.row(rows - 1), -x.stride}, rows, columns);
}

#if HWY_TARGET == HWY_SCALAR
inline void transpose(Matrix in, std::int64_t rows, std::int64_t columns, Matrix out) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) out.row(j)[i] = in.row(i)[j];
  }
}
#else
// Four columns of the rows 0, 4, 8, ... below `in`, one row in each 128-bit block.
template <class D>
HWY_INLINE hn::Vec<D> load_every_fourth_row(D d, const float* in, std::int64_t stride) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::Load(d, in);
  } else {
    const hn::Half<D> half;
    return hn::Combine(
        d, load_every_fourth_row(half, in + static_cast<std::int64_t>(hn::MaxLanes(d) / 2) * stride, stride),
        load_every_fourth_row(half, in, stride));
  }
}

// out [columns, rows] = in^T, with in [rows, columns].
inline HWY_NOINLINE void transpose(Matrix in, std::int64_t rows, std::int64_t columns, Matrix out) {
  const hn::Repartition<double, FloatTag> pairs;
  for (std::int64_t i = 0; i < rows; i += kLanes) {
    for (std::int64_t j = 0; j < columns; j += 4) {
      const float* corner = in.row(i) + j;
      const auto row0 = load_every_fourth_row(kFloatTag, corner, in.stride);
      const auto row1 = load_every_fourth_row(kFloatTag, corner + in.stride, in.stride);
      const auto row2 = load_every_fourth_row(kFloatTag, corner + 2 * in.stride, in.stride);
      const auto row3 = load_every_fourth_row(kFloatTag, corner + 3 * in.stride, in.stride);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(kFloatTag, row0, row1));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(kFloatTag, row2, row3));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(kFloatTag, row0, row1));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(kFloatTag, row2, row3));
      float* column = out.row(j) + i;
      hn::Store(hn::BitCast(kFloatTag, hn::InterleaveLower(pairs, low01, low23)), kFloatTag, column);
      hn::Store(hn::BitCast(kFloatTag, hn::InterleaveUpper(pairs, low01, low23)), kFloatTag, column + out.stride);
      hn::Store(hn::BitCast(kFloatTag, hn::InterleaveLower(pairs, high01, high23)), kFloatTag, column + 2 * out.stride);
      hn::Store(hn::BitCast(kFloatTag, hn::InterleaveUpper(pairs, high01, high23)), kFloatTag, column + 3 * out.stride);
    }
  }
}
#endif

}  // namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
