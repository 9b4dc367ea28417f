#include "kernels/short_conv.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"
#include "kernels/l2_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/short_conv.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/math-inl.h"

// The work is cut into blocks of tokens and slabs of channels; with an L2 norm, of whole heads. A block falls into
// pieces at the ends of sequences. For each piece the rows of x that its tokens see are gathered as float32 into a
// window, rows from before the sequence included, so that the loops over tokens know nothing of boundaries.
HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kBlockTokens = 64;
constexpr std::int64_t kSlabStride = 256;  // of the arrays of a slab: a multiple of every vector length
static_assert(kMaxFusedHeadDim <= kSlabStride);

struct Sizes {
  explicit Sizes(const ShortConvInputs& inputs, std::int64_t head_dim = 1)
      : tokens(inputs.x.size(0)),
        channels(inputs.x.size(1)),
        taps(inputs.weight.size(1)),
        slab_channels(kSlabStride / head_dim * head_dim) {}

  // Where tap j of channel c stands in arrays [slabs, taps, kSlabStride].
  std::int64_t tap_index(std::int64_t c, std::int64_t j) const {
    return (c / slab_channels * taps + j) * kSlabStride + c % slab_channels;
  }

  std::int64_t tokens, channels, taps, slab_channels;
  std::int64_t blocks = (tokens + kBlockTokens - 1) / kBlockTokens;
  std::int64_t slabs = (channels + slab_channels - 1) / slab_channels;
  std::int64_t slab_taps = taps * kSlabStride;
};

// What follows the SiLU: nothing, or the L2 norm of each head.
struct NoNorm {};
struct HeadNorm {
  std::int64_t head_dim, heads;
  float eps;    // of the forward pass
  float* rstd;  // [tokens, heads]
};

// Tokens [begin, end) of one sequence, which is tokens [sequence_begin, sequence_end).
struct Piece {
  std::int64_t begin, end;
  std::int64_t sequence, sequence_begin, sequence_end;
  const float* initial_state;  // [taps - 1, channels], or null for zeros
};

// The initial state of a sequence, or null.
const float* initial_state_of(const ShortConvInputs& inputs, std::int64_t sequence, const Sizes& sizes) {
  if (!inputs.initial_state.defined()) return nullptr;
  return inputs.initial_state.data<float>() + sequence * (sizes.taps - 1) * sizes.channels;
}

// body(piece) for each piece of a block.
template <class Body>
void for_each_piece(const ShortConvInputs& inputs, const Sizes& sizes, std::int64_t block, const Body& body) {
  const std::int64_t block_begin = block * kBlockTokens;
  const std::int64_t block_end = std::min(block_begin + kBlockTokens, sizes.tokens);
  const auto bounds = inputs.cu_seqlens.span<std::int32_t>();
  const auto after = std::upper_bound(bounds.begin(), bounds.end(), block_begin);
  for (auto sequence = static_cast<std::size_t>(after - bounds.begin() - 1);
       sequence + 1 < bounds.size() && bounds[sequence] < block_end; ++sequence) {
    const std::int64_t sequence_begin = bounds[sequence], sequence_end = bounds[sequence + 1];
    const std::int64_t begin = std::max(block_begin, sequence_begin), end = std::min(block_end, sequence_end);
    if (begin == end) continue;
    const auto number = static_cast<std::int64_t>(sequence);
    body(Piece{begin, end, number, sequence_begin, sequence_end, initial_state_of(inputs, number, sizes)});
  }
}

// body(block, slab) for all of them, in parallel.
template <class Body>
void for_each_tile(const Sizes& sizes, const Body& body) {
  parallel_for(sizes.blocks * sizes.slabs, [&](std::int64_t i) { body(i / sizes.slabs, i % sizes.slabs); });
}

// The weight as [slabs, taps, kSlabStride], padded with zeros.
Tensor transpose_weight(const Tensor& weight, const Sizes& sizes) {
  const Tensor taps = Tensor::zeros({sizes.slabs, sizes.slab_taps});
  const float* from = weight.data<float>();
  float* to = taps.data<float>();
  for (std::int64_t c = 0; c < sizes.channels; ++c) {
    for (std::int64_t j = 0; j < sizes.taps; ++j) to[sizes.tap_index(c, j)] = *from++;
  }
  return taps;
}

// f(taps), with the usual number of taps as a constant so that loops over them unroll.
template <class F>
void dispatch_taps(std::int64_t taps, const F& f) {
  if (taps == 4) return f(std::integral_constant<std::int64_t, 4>{});
  f(taps);
}

// Sum over j of row j of `weight` times row j of `rows`.
template <class Taps>
HWY_INLINE FloatVec convolve(Taps taps, const float* weight, const float* rows) {
  auto z = hn::Zero(kFloatTag);
  for (std::int64_t j = 0; j < taps; ++j) {
    z = hn::MulAdd(load(weight + j * kSlabStride), load(rows + j * kSlabStride), z);
  }
  return z;
}

// The same with the rows of `weight` from last to first.
template <class Taps>
HWY_INLINE FloatVec correlate(Taps taps, const float* weight, const float* rows) {
  auto z = hn::Zero(kFloatTag);
  for (std::int64_t j = 0; j < taps; ++j) {
    z = hn::MulAdd(load(weight + (taps - 1 - j) * kSlabStride), load(rows + j * kSlabStride), z);
  }
  return z;
}

// One slab of channels: x and what is computed from it, for one piece at a time. Rows of the scratch arrays are
// kSlabStride long; what they hold past the last channel does not matter.
template <class T, class Norm>
class Slab {
 public:
  Slab(const ShortConvInputs& inputs, const Sizes& sizes, const Norm& norm, std::int64_t slab)
      : x_(inputs.x.data<T>()),
        sizes_(sizes),
        norm_(norm),
        first_channel_(slab * sizes.slab_channels),
        width_(std::min(sizes.slab_channels, sizes.channels - first_channel_)),
        scratch_(Tensor::empty({kRows + 2 * (kBlockTokens + 2 * (sizes.taps - 1)) + sizes.taps - 1, kSlabStride})),
        z_(scratch_.data<float>()),
        sigmoid_(z_ + kSlabStride),
        silu_(sigmoid_ + kSlabStride),
        window_(silu_ + kSlabStride),
        before_(window_ + (kBlockTokens + 2 * (sizes.taps - 1)) * kSlabStride),
        dz_(before_ + (sizes.taps - 1) * kSlabStride) {}

  template <class Taps>
  void forward(Taps taps, const Piece& piece, const float* weight, T* y) {
    load_window(piece, piece.end);
    const float* rows = window_;  // the rows that the token sees
    for (std::int64_t t = piece.begin; t < piece.end; ++t, rows += kSlabStride) {
      T* y_row = y + offset(t);
      if constexpr (kNormed) {
        activate(taps, weight, rows);
        for_each_head(t, [&](std::int64_t begin, float& rstd) { normalise(silu_ + begin, y_row + begin, rstd); });
      } else {
        for_each_vector(width_, [=](std::int64_t c, auto lanes) {
          const auto z = convolve(taps, weight + c, rows + c);
          store(hn::Mul(z, sigmoid(z)), y_row + c, lanes);
        });
      }
    }
  }

  // dweight [taps, kSlabStride] (+=). dinitial_states [sequences, taps - 1, channels] (=), or null: those of sequences
  // that begin with the piece.
  template <class Taps>
  void backward(Taps taps, const Piece& piece, const float* weight, const T* dy, T* dx, float* dinitial_states,
                float* dweight) {
    // dx of the last tokens needs dz of the tokens after them that see them.
    const std::int64_t dz_end = piece.end + taps - 1;
    const std::int64_t seen_end = std::min(dz_end, piece.sequence_end);
    load_window(piece, seen_end);
    const float* rows = window_;
    float* dz_rows = dz_;
    for (std::int64_t t = piece.begin; t < seen_end; ++t, rows += kSlabStride, dz_rows += kSlabStride) {
      const T* dy_row = dy + offset(t);
      if constexpr (kNormed) {
        activate(taps, weight, rows);
        for_each_head(
            t, [&](std::int64_t begin, float rstd) { differentiate(begin, rstd, dy_row + begin, dz_rows + begin); });
      } else {
        for_each_vector(width_, [=](std::int64_t c, auto lanes) {
          const auto z = convolve(taps, weight + c, rows + c);
          store(hn::Mul(load(dy_row + c, lanes), silu_derivative(z, sigmoid(z))), dz_rows + c);
        });
      }
    }
    std::fill_n(dz_rows, (dz_end - seen_end) * kSlabStride, 0.0f);
    for (std::int64_t t = 0; t < piece.end - piece.begin; ++t) {
      add_dweight(taps, dz_ + t * kSlabStride, window_ + t * kSlabStride, dweight);
    }
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      const float* later_rows = dz_ + (t - piece.begin) * kSlabStride;
      T* dx_row = dx + offset(t);
      for_each_vector(width_, [=](std::int64_t c, auto lanes) {
        store(correlate(taps, weight + c, later_rows + c), dx_row + c, lanes);
      });
    }
    if (dinitial_states != nullptr && piece.begin == piece.sequence_begin) {
      differentiate_initial_state(taps, weight, dinitial_states + piece.sequence * (taps - 1) * sizes_.channels);
    }
  }

 private:
  static constexpr bool kNormed = std::is_same_v<Norm, HeadNorm>;
  static constexpr std::int64_t kRows = 3;  // z, sigmoid(z) and silu(z) of one token

  std::int64_t offset(std::int64_t token) const { return token * sizes_.channels + first_channel_; }

  // body(begin, rstd) for each head of the slab: its first channel within the slab, and its element of rstd.
  template <class Body>
  void for_each_head(std::int64_t token, const Body& body) const {
    float* rstd = norm_.rstd + token * norm_.heads + first_channel_ / norm_.head_dim;
    for (std::int64_t begin = 0; begin < width_; begin += norm_.head_dim) body(begin, *rstd++);
  }

  // z, sigmoid(z) and silu(z) of the token that sees `rows`.
  template <class Taps>
  void activate(Taps taps, const float* weight, const float* rows) const {
    for_each_vector(width_, [=, this](std::int64_t c, auto) {
      const auto z = convolve(taps, weight + c, rows + c), s = sigmoid(z);
      store(z, z_ + c);
      store(s, sigmoid_ + c);
      store(hn::Mul(z, s), silu_ + c);
    });
  }

  void normalise(const float* silu, T* y, float& rstd) const {
    auto squares = hn::Zero(kFloatTag);
    for_each_vector(norm_.head_dim, [&](std::int64_t c, auto lanes) {
      const auto value = load(silu + c, lanes);
      squares = hn::MulAdd(value, value, squares);
    });
    rstd = 1.0f / std::sqrt(sum_of_lanes(squares) + norm_.eps);
    const auto factor = broadcast(rstd);
    for_each_vector(norm_.head_dim,
                    [=](std::int64_t c, auto lanes) { store(hn::Mul(load(silu + c, lanes), factor), y + c, lanes); });
  }

  // dz of the head that begins at channel `begin` of the slab: dy - y (y . dy) is tangent to the sphere.
  void differentiate(std::int64_t begin, float rstd, const T* dy, float* dz) const {
    const float *z = z_ + begin, *s = sigmoid_ + begin, *silu = silu_ + begin;
    const auto factor = broadcast(rstd);
    auto products = hn::Zero(kFloatTag);
    for_each_vector(norm_.head_dim, [&](std::int64_t c, auto lanes) {
      products = hn::MulAdd(hn::Mul(load(silu + c, lanes), factor), load(dy + c, lanes), products);
    });
    const auto y_dot_dy = broadcast(sum_of_lanes(products));
    for_each_vector(norm_.head_dim, [=](std::int64_t c, auto lanes) {
      const auto y = hn::Mul(load(silu + c, lanes), factor);
      const auto tangent = hn::NegMulAdd(y, y_dot_dy, load(dy + c, lanes));
      const auto slope = silu_derivative(load(z + c, lanes), load(s + c, lanes));
      store(hn::Mul(hn::Mul(tangent, factor), slope), dz + c, lanes);
    });
  }

  template <class Taps>
  void add_dweight(Taps taps, const float* dz_row, const float* rows, float* dweight) const {
    for_each_vector(width_, [=](std::int64_t c, auto) {
      const auto dz = load(dz_row + c);
      for (std::int64_t i = c; i < c + taps * kSlabStride; i += kSlabStride) {
        store(hn::MulAdd(dz, load(rows + i), load(dweight + i)), dweight + i);
      }
    });
  }

  // The rows before a sequence are seen by its first tokens, whose dz stand behind zeros for those before it.
  template <class Taps>
  void differentiate_initial_state(Taps taps, const float* weight, float* dinitial_state) const {
    std::fill_n(before_, (taps - 1) * kSlabStride, 0.0f);
    for (std::int64_t j = 0; j < taps - 1; ++j) {
      const float* later_rows = before_ + j * kSlabStride;
      float* row = dinitial_state + offset(j);
      for_each_vector(width_, [=](std::int64_t c, auto lanes) {
        store(correlate(taps, weight + c, later_rows + c), row + c, lanes);
      });
    }
  }

  // Rows from taps - 1 before the piece up to `end`.
  void load_window(const Piece& piece, std::int64_t end) {
    float* row = window_;
    const auto copy_row = [&](const auto* from) {
      for_each_vector(width_, [=](std::int64_t c, auto lanes) { store(load(from + c, lanes), row + c); });
    };
    for (std::int64_t t = piece.begin - (sizes_.taps - 1); t < end; ++t, row += kSlabStride) {
      if (t >= piece.sequence_begin) {
        copy_row(x_ + offset(t));
      } else if (piece.initial_state != nullptr) {
        copy_row(piece.initial_state + offset(t - piece.sequence_begin + sizes_.taps - 1));
      } else {
        std::fill_n(row, kSlabStride, 0.0f);
      }
    }
  }

  const T* x_;
  const Sizes& sizes_;
  Norm norm_;
  std::int64_t first_channel_, width_;
  Tensor scratch_;
  float *z_, *sigmoid_, *silu_, *window_;
  float *before_, *dz_;  // one after the other
};

// Row r of the final state is row len + r of the initial state followed by the sequence's `len` rows; written in
// rising order, it may overwrite the initial state.
template <class T>
void write_final_state(const ShortConvInputs& inputs, const Sizes& sizes, const Tensor& final_state) {
  const auto bounds = inputs.cu_seqlens.span<std::int32_t>();
  const T* x = inputs.x.data<T>();
  parallel_for(static_cast<std::int64_t>(bounds.size()) - 1, [&](std::int64_t sequence) {
    const std::int64_t begin = bounds[sequence], end = bounds[sequence + 1];
    const float* initial = initial_state_of(inputs, sequence, sizes);
    float* row = final_state.data<float>() + sequence * (sizes.taps - 1) * sizes.channels;
    for (std::int64_t t = end - (sizes.taps - 1); t < end; ++t, row += sizes.channels) {
      if (t >= begin) {
        const T* from = x + t * sizes.channels;
        for_each_vector(sizes.channels,
                        [&](std::int64_t c, auto lanes) { store(load(from + c, lanes), row + c, lanes); });
      } else if (initial != nullptr) {
        std::copy_n(initial + (t - begin + sizes.taps - 1) * sizes.channels, sizes.channels, row);
      } else {
        std::fill_n(row, sizes.channels, 0.0f);
      }
    }
  });
}

template <class Norm>
void run_forward(const ShortConvInputs& inputs, const Sizes& sizes, const Norm& norm, const Tensor& y,
                 const Tensor& final_state) {
  const Tensor weight = transpose_weight(inputs.weight, sizes);
  const float* weight_data = weight.data<float>();
  dispatch_float(inputs.x.dtype(), [&]<class T>() {
    dispatch_taps(sizes.taps, [&, y_data = y.data<T>()](auto taps) {
      for_each_tile(sizes, [&](std::int64_t block, std::int64_t slab) {
        Slab<T, Norm> work(inputs, sizes, norm, slab);
        for_each_piece(inputs, sizes, block, [&](const Piece& piece) {
          work.forward(taps, piece, weight_data + slab * sizes.slab_taps, y_data);
        });
      });
    });
    if (final_state.defined()) write_final_state<T>(inputs, sizes, final_state);
  });
}

template <class Norm>
void run_backward(const ShortConvInputs& inputs, const Sizes& sizes, const Norm& norm, const Tensor& dy,
                  const ShortConvGradients& gradients) {
  const auto& [dx, dweight, dinitial_state] = gradients;
  if (dinitial_state) dinitial_state.fill_zero();  // of sequences without tokens
  const Tensor weight = transpose_weight(inputs.weight, sizes);
  const float* weight_data = weight.data<float>();
  const Tensor partials = Tensor::zeros({sizes.blocks, sizes.slabs * sizes.slab_taps});
  float* partials_data = partials.data<float>();
  float* dinitial = dinitial_state ? dinitial_state.data<float>() : nullptr;
  dispatch_float(inputs.x.dtype(), [&]<class T>() {
    dispatch_taps(sizes.taps, [&, dy_data = dy.data<T>(), dx_data = gradients.dx.template data<T>()](auto taps) {
      for_each_tile(sizes, [&](std::int64_t block, std::int64_t slab) {
        Slab<T, Norm> work(inputs, sizes, norm, slab);
        float* partial = partials_data + (block * sizes.slabs + slab) * sizes.slab_taps;
        for_each_piece(inputs, sizes, block, [&](const Piece& piece) {
          work.backward(taps, piece, weight_data + slab * sizes.slab_taps, dy_data, dx_data, dinitial, partial);
        });
      });
    });
  });
  const Tensor total = Tensor::zeros({sizes.slabs * sizes.slab_taps});
  add_partial_sums(partials, total);
  const float* from = total.data<float>();
  float* to = dweight.data<float>();
  for (std::int64_t c = 0; c < sizes.channels; ++c) {
    for (std::int64_t j = 0; j < sizes.taps; ++j) *to++ += from[sizes.tap_index(c, j)];
  }
}

void forward(const ShortConvInputs& inputs, const Tensor& y, const Tensor& final_state) {
  run_forward(inputs, Sizes(inputs), NoNorm(), y, final_state);
}

void backward(const ShortConvInputs& inputs, const Tensor& dy, const ShortConvGradients& gradients) {
  run_backward(inputs, Sizes(inputs), NoNorm(), dy, gradients);
}

// head_dim up to kMaxFusedHeadDim.
void forward_normed(const ShortConvInputs& inputs, float eps, const Tensor& y, const Tensor& rstd,
                    const Tensor& final_state) {
  const HeadNorm norm{y.size(2), y.size(1), eps, rstd.data<float>()};
  run_forward(inputs, Sizes(inputs, norm.head_dim), norm, y, final_state);
}

void backward_normed(const ShortConvInputs& inputs, const Tensor& rstd, const Tensor& dy,
                     const ShortConvGradients& gradients) {
  const HeadNorm norm{dy.size(2), dy.size(1), 0, rstd.data<float>()};
  run_backward(inputs, Sizes(inputs, norm.head_dim), norm, dy, gradients);
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(forward);
HWY_EXPORT(backward);
HWY_EXPORT(forward_normed);
HWY_EXPORT(backward_normed);

void expect_state(std::string_view op, std::string_view name, const Tensor& state, const ShortConvInputs& inputs) {
  if (!state.defined()) return;
  expect_tensor(op, name, state, {inputs.cu_seqlens.size(0) - 1, inputs.weight.size(1) - 1, inputs.x.size(1)},
                DType::kFloat32);
}

void check_inputs(std::string_view op, const ShortConvInputs& inputs) {
  expect_floating_matrix(op, "x", inputs.x, "[tokens, channels]");
  const Tensor& weight = inputs.weight;
  require(weight.defined() && weight.dtype() == DType::kFloat32 && weight.shape().rank() == 2 &&
              weight.size(0) == inputs.x.size(1) && weight.size(1) >= 1,
          "[{}] weight: expected float32 [{} channels, taps], got {}", op, inputs.x.size(1), weight.to_string());
  expect_cu_seqlens(op, inputs.cu_seqlens, inputs.x.size(0));
  expect_state(op, "initial_state", inputs.initial_state, inputs);
}

void check_gradients(std::string_view op, const ShortConvInputs& inputs, const Tensor& dy,
                     const ShortConvGradients& gradients) {
  const auto& [dx, dweight, dinitial_state] = gradients;
  expect_tensor(op, "dx", dx, inputs.x.shape(), inputs.x.dtype());
  require(dx.raw() != dy.raw() && dx.raw() != inputs.x.raw(), "[{}] dx must be neither dy nor x itself ({})", op,
          dx.to_string());
  expect_tensor(op, "dweight", dweight, inputs.weight.shape(), DType::kFloat32);
  expect_state(op, "dinitial_state", dinitial_state, inputs);
}

// A tensor [tokens, heads, head_dim] of x's channels, and rstd.
void check_heads(std::string_view op, std::string_view name, const Tensor& per_head, const Tensor& rstd,
                 const ShortConvInputs& inputs) {
  const std::int64_t tokens = inputs.x.size(0), channels = inputs.x.size(1);
  require(per_head.defined() && per_head.dtype() == inputs.x.dtype() && per_head.shape().rank() == 3 &&
              per_head.size(0) == tokens && per_head.size(1) * per_head.size(2) == channels && per_head.size(2) > 0,
          "[{}] {}: expected {}[{}, heads, head_dim] with heads x head_dim = {}, got {}", op, name,
          name_of(inputs.x.dtype()), tokens, channels, per_head.to_string());
  expect_tensor(op, "rstd", rstd, {tokens, per_head.size(1)}, DType::kFloat32);
}

bool is_fused(const ShortConvInputs& inputs, std::int64_t head_dim) {
  return head_dim <= kMaxFusedHeadDim && inputs.weight.size(1) <= kMaxFusedTaps;
}

}  // namespace

void short_conv_forward(const ShortConvInputs& inputs, const Tensor& y, const Tensor& final_state, Stream stream) {
  constexpr auto kOp = "short_conv_forward";
  check_inputs(kOp, inputs);
  expect_tensor(kOp, "y", y, inputs.x.shape(), inputs.x.dtype());
  require(y.raw() != inputs.x.raw(), "[{}] y must not be x itself ({})", kOp, y.to_string());
  expect_state(kOp, "final_state", final_state, inputs);
  if (y.device().is_cuda()) return cuda_twin<short_conv_forward>()(inputs, y, final_state, stream);
  HWY_DYNAMIC_DISPATCH(forward)(inputs, y, final_state);
}

void short_conv_backward(const ShortConvInputs& inputs, const Tensor& dy, const ShortConvGradients& gradients,
                         Stream stream) {
  constexpr auto kOp = "short_conv_backward";
  check_inputs(kOp, inputs);
  expect_tensor(kOp, "dy", dy, inputs.x.shape(), inputs.x.dtype());
  check_gradients(kOp, inputs, dy, gradients);
  if (dy.device().is_cuda()) return cuda_twin<short_conv_backward>()(inputs, dy, gradients, stream);
  HWY_DYNAMIC_DISPATCH(backward)(inputs, dy, gradients);
}

void short_conv_l2_norm_forward(const ShortConvInputs& inputs, float eps, const Tensor& y, const Tensor& rstd,
                                const Tensor& final_state, Stream stream) {
  constexpr auto kOp = "short_conv_l2_norm_forward";
  check_inputs(kOp, inputs);
  check_heads(kOp, "y", y, rstd, inputs);
  if (!is_fused(inputs, y.size(2))) {
    short_conv_forward(inputs, y.view(inputs.x.shape()), final_state, stream);
    return l2_norm_forward(y, eps, y, rstd, stream);
  }
  require(y.raw() != inputs.x.raw(), "[{}] y must not be x itself ({})", kOp, y.to_string());
  expect_state(kOp, "final_state", final_state, inputs);
  if (y.device().is_cuda()) {
    return cuda_twin<short_conv_l2_norm_forward>()(inputs, eps, y, rstd, final_state, stream);
  }
  HWY_DYNAMIC_DISPATCH(forward_normed)(inputs, eps, y, rstd, final_state);
}

void short_conv_l2_norm_backward(const ShortConvInputs& inputs, const Tensor& y, const Tensor& rstd, const Tensor& dy,
                                 const ShortConvGradients& gradients, Stream stream) {
  constexpr auto kOp = "short_conv_l2_norm_backward";
  check_inputs(kOp, inputs);
  check_heads(kOp, "y", y, rstd, inputs);
  expect_tensor(kOp, "dy", dy, y.shape(), y.dtype());
  if (!is_fused(inputs, y.size(2))) {
    const Tensor dsilu = Tensor::empty(inputs.x.shape(), dy.dtype(), dy.device());
    l2_norm_backward(y, rstd, dy, dsilu.view(dy.shape()), stream);
    return short_conv_backward(inputs, dsilu, gradients, stream);
  }
  check_gradients(kOp, inputs, dy, gradients);
  if (dy.device().is_cuda()) {
    return cuda_twin<short_conv_l2_norm_backward>()(inputs, y, rstd, dy, gradients, stream);
  }
  HWY_DYNAMIC_DISPATCH(backward_normed)(inputs, rstd, dy, gradients);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
