// One chunk of the gated delta rule: loading, decays, and the products that forward and backward share.
// Included once for each SIMD target (see Highway's foreach_target.h), hence the toggling guard.

#if defined(MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_CHUNK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_CHUNK_INL_H_
#undef MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_CHUNK_INL_H_
#else
#define MUDELTA_KERNELS_GATED_DELTA_RULE_CPU_CHUNK_INL_H_
#endif

#include <cstdint>

#include "hwy/cache_control.h"
#include "kernels/gated_delta_rule/cpu/plan.h"
#include "kernels/gated_delta_rule/cpu/tile-inl.h"
#include "kernels/simd/io-inl.h"
#include "kernels/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE {

// Decays below this count as 0: their products with anything that matters vanish in float32, and denormal numbers,
// which are slow, do not arise from products of decays.
constexpr float kNegligibleDecay = 0x1p-60f;

// out[i] = factor * in[i] for a padded row; the two may be the same.
HWY_INLINE void scale_row(const float* in, float factor, std::int64_t columns, float* out) {
  const auto factors = broadcast(factor);
  for (std::int64_t i = 0; i < columns; i += kLanes) {
    hn::Store(hn::Mul(factors, hn::Load(kFloatTag, in + i)), kFloatTag, out + i);
  }
}

HWY_INLINE void fill_zero(float* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kLanes) hn::Store(hn::Zero(kFloatTag), kFloatTag, out + i);
}

// Columns of one head of a tensor [rows, heads, dim].
struct HeadColumns {
  std::int64_t head, first, count;
};

// out = these rows and columns as float32; padding rows and columns are zero.
inline void load_rows(const HeadRows& tensor, Rows rows, HeadColumns columns, Matrix out) {
  const std::int64_t stride = tensor.heads * tensor.dim;
  dispatch_float(tensor.dtype, [&]<class T>() {
    const T* in =
        reinterpret_cast<const T*>(tensor.data) + rows.begin * stride + columns.head * tensor.dim + columns.first;
    for (std::int64_t i = 0; i < rows.count(); ++i, in += stride) {
      float* row = out.row(i);
      fill_zero(row + columns.count / kPadding * kPadding, columns.count % kPadding == 0 ? 0 : kPadding);
      for_each_vector(columns.count,
                      [&](std::int64_t j, auto lanes) { hn::Store(load(in + j, lanes), kFloatTag, row + j); });
    }
  });
  fill_zero(out.row(rows.count()), (rows.padded_count() - rows.count()) * out.stride);
}

// These rows and columns = in, converted to the tensor's dtype.
inline void store_rows(Matrix in, const HeadRows& tensor, Rows rows, HeadColumns columns) {
  const std::int64_t stride = tensor.heads * tensor.dim;
  dispatch_float(tensor.dtype, [&]<class T>() {
    T* out = reinterpret_cast<T*>(tensor.data) + rows.begin * stride + columns.head * tensor.dim + columns.first;
    for (std::int64_t i = 0; i < rows.count(); ++i, out += stride) {
      const float* row = in.row(i);
      for_each_vector(columns.count,
                      [&](std::int64_t j, auto lanes) { store(hn::Load(kFloatTag, row + j), out + j, lanes); });
    }
  });
}

// Rows of one head that will be needed soon, to be brought into the cache one by one in the course of other work: they
// lie too far apart for the processor to foresee.
struct UpcomingRows {
  const std::byte* first = nullptr;
  std::int64_t stride_bytes = 0, row_bytes = 0, count = 0;

  UpcomingRows() = default;
  UpcomingRows(const HeadRows& tensor, Rows rows, HeadColumns columns)
      : stride_bytes(tensor.heads * tensor.dim * size_of(tensor.dtype)),
        row_bytes(columns.count * size_of(tensor.dtype)),
        count(tensor ? rows.count() : 0) {
    if (!tensor) return;
    first =
        tensor.data + rows.begin * stride_bytes + (columns.head * tensor.dim + columns.first) * size_of(tensor.dtype);
  }

  HWY_INLINE void fetch(std::int64_t row) const {
    if (row >= count) return;
    constexpr std::int64_t kLineBytes = 64;
    for (std::int64_t i = 0; i < row_bytes; i += kLineBytes) hwy::Prefetch(first + row * stride_bytes + i);
  }
};

// q and k of one head.
struct Keys {
  Matrix q, k;          // [tokens, key_dim]
  Matrix k_transposed;  // [key_dim, tokens]
  Matrix kk, qk;        // [tokens, tokens]: k k^T and q k^T, see Triangle::kLowerResult

  Keys(Scratch& scratch, std::int64_t chunk, std::int64_t key_dim)
      : q(scratch.take_matrix(chunk, key_dim)),
        k(scratch.take_matrix(chunk, key_dim)),
        k_transposed(scratch.take_matrix(key_dim, chunk)),
        kk(scratch.take_matrix(chunk, chunk)),
        qk(scratch.take_matrix(chunk, chunk)) {}

  void load(const Inputs& inputs, Rows tokens, std::int64_t head) const {
    const HeadColumns columns{head, 0, inputs.sizes.key_dim};
    load_rows(inputs.q, tokens, columns, q);
    load_rows(inputs.k, tokens, columns, k);
  }

  void multiply_keys(Rows tokens) const {
    const std::int64_t rows = tokens.padded_count();
    transpose(k, rows, k.stride, k_transposed);
    multiply(plain(k), k_transposed, kk, {rows, k.stride, rows}, 0, Triangle::kLowerResult);
    multiply(plain(q), k_transposed, qk, {rows, k.stride, rows}, 0, Triangle::kLowerResult);
  }
};

// g and beta of one value head, and what follows from them. Padding tokens decay nothing and have beta = 0.
struct Gates {
  float* decay;       // [tokens]: e^g
  float* beta;        // [tokens]
  float* from_start;  // [tokens]: decay from the chunk's start through this token
  float* to_end;      // [tokens]: decay after this token to the chunk's end
  Matrix between;     // [tokens, tokens]: decay after token j through token i; 1 for i = j, 0 for i < j
  Matrix system;      // [tokens, tokens]: beta_i kk_ij between_ij, to be read below the diagonal only
  Matrix scores;      // [tokens, tokens]: scale qk_ij between_ij

  Gates(Scratch& scratch, std::int64_t chunk)
      : decay(scratch.take(chunk)),
        beta(scratch.take(chunk)),
        from_start(scratch.take(chunk)),
        to_end(scratch.take(chunk)),
        between(scratch.take_matrix(chunk, chunk)),
        system(scratch.take_matrix(chunk, chunk)),
        scores(scratch.take_matrix(chunk, chunk)) {}

  float whole_chunk(Rows tokens) const { return from_start[tokens.count() - 1]; }

  void load(const Inputs& inputs, Rows tokens, std::int64_t value_head) const {
    const std::int64_t stride = inputs.sizes.value_heads, rows = tokens.padded_count();
    const float* g = inputs.g + tokens.begin * stride + value_head;
    const float* b = inputs.beta + tokens.begin * stride + value_head;
    for (std::int64_t i = 0; i < tokens.count(); ++i) {
      decay[i] = g[i * stride];
      beta[i] = b[i * stride];
    }
    for (std::int64_t i = tokens.count(); i < rows; ++i) decay[i] = beta[i] = 0;
    const auto negligible = broadcast(kNegligibleDecay);
    for (std::int64_t i = 0; i < rows; i += kLanes) {
      const auto value = exp(hn::Load(kFloatTag, decay + i));
      hn::Store(hn::IfThenZeroElse(hn::Lt(value, negligible), value), kFloatTag, decay + i);
    }
  }

  // Decays over several tokens are products of e^g, more exact than exponentials of differences of a running sum of g.
  void multiply_decays(Rows tokens) const {
    const auto times = [](float a, float b) { return a * b < kNegligibleDecay ? 0.0f : a * b; };
    const std::int64_t rows = tokens.padded_count();
    float product = 1;
    for (std::int64_t i = 0; i < rows; ++i) from_start[i] = product = times(product, decay[i]);
    product = 1;
    for (std::int64_t i = rows - 1; i >= 0; --i) {
      to_end[i] = product;
      product = times(product, decay[i]);
    }
  }

  // Fills `between`, `system` and `scores`, each in the columns below round_up(i + 1, kPadding) of row i.
  void weigh(const Keys& keys, float scale, Rows tokens) const {
    const hn::Rebind<std::int32_t, FloatTag> int_tag;
    const auto lane_numbers = hn::Iota(int_tag, 0);
    const auto negligible = broadcast(kNegligibleDecay), scales = broadcast(scale), one = broadcast(1);
    for (std::int64_t i = 0; i < tokens.padded_count(); ++i) {
      const auto row_decay = broadcast(decay[i]), row_beta = broadcast(beta[i]);
      const auto diagonal = hn::Set(int_tag, static_cast<std::int32_t>(i));
      const float* previous = between.row(i == 0 ? 0 : i - 1);
      for (std::int64_t j = 0; j < round_up(i + 1, kPadding); j += kLanes) {
        const auto column = hn::Add(lane_numbers, hn::Set(int_tag, static_cast<std::int32_t>(j)));
        const auto below = hn::RebindMask(kFloatTag, hn::Lt(column, diagonal));
        const auto on = hn::RebindMask(kFloatTag, hn::Eq(column, diagonal));
        const auto product = hn::Mul(row_decay, hn::Load(kFloatTag, previous + j));
        const auto kept = hn::IfThenZeroElse(hn::Lt(product, negligible), product);
        const auto value = hn::IfThenElse(on, one, hn::IfThenElseZero(below, kept));
        hn::Store(value, kFloatTag, between.row(i) + j);
        const auto kk = hn::Load(kFloatTag, keys.kk.row(i) + j), qk = hn::Load(kFloatTag, keys.qk.row(i) + j);
        hn::Store(hn::Mul(hn::Mul(row_beta, value), kk), kFloatTag, system.row(i) + j);
        hn::Store(hn::Mul(hn::Mul(scales, value), qk), kFloatTag, scores.row(i) + j);
      }
    }
  }
};

}  // namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
