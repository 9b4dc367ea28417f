#include "kernels/cuda/activations.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/vector_io.h"
#include "kernels/short_conv.h"

// A lane goes through some tokens of a few channels, piece by piece: a piece is a run of tokens of one sequence. The
// rows that a token sees are a window of registers that moves along; a piece starts with the rows before it, those of
// the initial state included, so that the loops over tokens know nothing of boundaries. With fewer taps than kTaps, the
// first ones have weight 0. Lanes whose channels make up a head stand side by side in a warp and go through the same
// tokens, so that they can sum over the head.
namespace mudelta::kernels::cuda {
namespace {

constexpr int kMaxTaps = 8;

template <class T>
struct Conv {
  const T* x;
  const float* weight;
  const std::int32_t* cu_seqlens;
  const float* initial_state;  // or null
  std::int64_t tokens, channels, sequences;
  int taps;
};

template <class T>
Conv<T> conv_of(const ShortConvInputs& inputs) {
  return {.x = inputs.x.data<T>(),
          .weight = inputs.weight.data<float>(),
          .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
          .initial_state = inputs.initial_state.defined() ? inputs.initial_state.data<float>() : nullptr,
          .tokens = inputs.x.size(0),
          .channels = inputs.x.size(1),
          .sequences = inputs.cu_seqlens.size(0) - 1,
          .taps = static_cast<int>(inputs.weight.size(1))};
}

// The sequence that token t belongs to: the last that starts at or before t.
__device__ std::int64_t find_sequence(const std::int32_t* cu_seqlens, std::int64_t sequences, std::int64_t t) {
  std::int64_t low = 0, high = sequences;  // the sequence is in [low, high)
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    if (cu_seqlens[middle] <= t) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// body(begin, end, sequence) for each piece of the tokens [begin, end).
template <class Body>
__device__ void for_each_piece(const std::int32_t* cu_seqlens, std::int64_t sequences, std::int64_t begin,
                               std::int64_t end, const Body& body) {
  if (begin >= end) return;
  for (std::int64_t s = find_sequence(cu_seqlens, sequences, begin); begin < end; ++s) {
    const std::int64_t piece_end = min(static_cast<std::int64_t>(cu_seqlens[s + 1]), end);
    if (begin < piece_end) body(begin, piece_end, s);
    begin = piece_end;
  }
}

// How the channels of a token are dealt out: groups of `channels`, to so many neighbouring lanes each. With a norm a
// group is a head; `lanes` is a power of two up to kWarpSize.
struct Groups {
  std::int64_t channels;
  int lanes;

  __device__ __forceinline__ int lane() const { return static_cast<int>(threadIdx.x) % lanes; }
  // This lane's group, as a mask of lanes of the warp.
  __device__ __forceinline__ unsigned mask() const {
    return lanes == kWarpSize ? kAllLanes : ((1u << lanes) - 1) << (lane_index() / lanes * lanes);
  }
};

// As few lanes as take `channels`, N each.
template <int N>
Groups groups_of(std::int64_t channels) {
  int lanes = 1;
  while (lanes * N < channels) lanes *= 2;
  return {channels, lanes};
}

// The channels of a lane: the first, and how many there are from there on, none or less for a lane without. With kWhole
// all lanes load whole runs, and those without channels the first ones of their group.
template <bool kWhole>
struct Channels {
  std::int64_t first, count;
  int lanes = 1;  // of the group
  unsigned mask = 0;

  __device__ __forceinline__ auto run() const { return run_of<kWhole>(count); }
  // Over the lanes of the group that have channels; the same on all its lanes.
  __device__ __forceinline__ float sum(float x) const {
    if (count <= 0) x = 0;
    for (int offset = lanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(mask, x, offset);
    return x;
  }
};

template <int N, bool kWhole>
__device__ __forceinline__ Channels<kWhole> channels_of(const Groups& groups, std::int64_t group,
                                                        std::int64_t channels) {
  const std::int64_t begin = group * groups.channels, first = begin + groups.lane() * N;
  const std::int64_t count = min(begin + groups.channels, channels) - first;
  return {kWhole && count <= 0 ? begin : first, count, groups.lanes, groups.mask()};
}

// The L2 norm of a group, where there is one.
struct Norm {
  float eps;    // of the forward pass
  float* rstd;  // [tokens, heads]
};

// The N channels of a lane of the taps: tap j is weight[j].
template <int kTaps, int N, bool kWhole, class T>
__device__ void load_weight(const Conv<T>& conv, Channels<kWhole> c, float (&weight)[kTaps][N]) {
  if (conv.taps == kTaps) {
    float flat[N * kTaps];
    load(conv.weight + c.first * kTaps, run_of<kWhole>(c.count * kTaps), flat);
    for (int j = 0; j < kTaps; ++j) {
      for (int k = 0; k < N; ++k) weight[j][k] = flat[k * kTaps + j];
    }
  } else {
    for (int j = 0; j < kTaps; ++j) {
      const int tap = j - (kTaps - conv.taps);
      for (int k = 0; k < N; ++k) {
        weight[j][k] = tap >= 0 && k < c.count ? conv.weight[(c.first + k) * conv.taps + tap] : 0.0f;
      }
    }
  }
}

// Row t as the tokens of `sequence`, which starts at `begin`, see it.
template <int N, bool kWhole, class T>
__device__ void load_row(const Conv<T>& conv, std::int64_t sequence, std::int64_t begin, std::int64_t t,
                         Channels<kWhole> c, float (&row)[N]) {
  const std::int64_t state_row = t - begin + conv.taps - 1;
  if (t >= begin) {
    load(conv.x + t * conv.channels + c.first, c.run(), row);
  } else if (conv.initial_state != nullptr && state_row >= 0) {
    load(conv.initial_state + (sequence * (conv.taps - 1) + state_row) * conv.channels + c.first, c.run(), row);
  } else {
    for (float& value : row) value = 0;
  }
}

// body(t, turn) for the tokens [begin, end), unrolled so that `turn`, which goes round from 0 to kTaps - 1, is a
// constant.
template <int kTaps, class Body>
__device__ __forceinline__ void for_each_token(std::int64_t begin, std::int64_t end, const Body& body) {
  for (std::int64_t first = begin; first < end; first += kTaps) {
#pragma unroll
    for (int turn = 0; turn < kTaps; ++turn) {
      if (first + turn >= end) return;
      body(first + turn, turn);
    }
  }
}

// The last kTaps rows, as a ring of registers in which no row moves: what comes in at a turn takes the place of what
// came in at the same turn before.
template <int kTaps, int N>
struct Window {
  float rows[kTaps][N];

  __device__ __forceinline__ void push(int turn, const float (&row)[N]) {
    for (int k = 0; k < N; ++k) rows[turn][k] = row[k];
  }
  // Row j from the oldest, once the row of this turn is in.
  __device__ __forceinline__ const float* row(int turn, int j) const { return rows[(turn + 1 + j) % kTaps]; }
};

// A window of what token `t` sees but for its own row, which is to be pushed at turn 0.
template <int kTaps, int N, bool kWhole, class T>
__device__ Window<kTaps, N> window_before(const Conv<T>& conv, std::int64_t sequence, std::int64_t t,
                                          Channels<kWhole> c) {
  Window<kTaps, N> window;
  for (int j = 1; j < kTaps; ++j) {
    load_row(conv, sequence, conv.cu_seqlens[sequence], t - kTaps + j, c, window.rows[j]);
  }
  return window;
}

// ---- forward

constexpr int kForwardThreads = 128;
constexpr std::int64_t kForwardTokens = 16;  // a lane
template <int kTaps>
constexpr int kForwardChannels = 32 / kTaps;  // a lane, so that weights and window fit into registers

template <int kTaps, bool kNormed, bool kWhole, class T>
__global__ void __launch_bounds__(kForwardThreads) forward_kernel(Conv<T> conv, Groups groups, Norm norm, T* y) {
  constexpr int N = kForwardChannels<kTaps>;
  const std::int64_t index = (static_cast<std::int64_t>(blockIdx.x) * kForwardThreads + threadIdx.x) / groups.lanes;
  const std::int64_t num_groups = divide_up(conv.channels, groups.channels), group = index % num_groups;
  const auto c = channels_of<N, kWhole>(groups, group, conv.channels);
  const std::int64_t first = index / num_groups * kForwardTokens, last = min(first + kForwardTokens, conv.tokens);
  if (first >= last) return;
  const bool has_channels = !kNormed || c.count > 0;
  float weight[kTaps][N];
  load_weight(conv, c, weight);
  for_each_piece(conv.cu_seqlens, conv.sequences, first, last,
                 [&](std::int64_t begin, std::int64_t end, std::int64_t sequence) {
                   Window<kTaps, N> window = window_before<kTaps, N>(conv, sequence, begin, c);
                   float next[N];
                   load(conv.x + begin * conv.channels + c.first, c.run(), next);
                   for_each_token<kTaps>(begin, end, [&](std::int64_t t, int turn) {
                     window.push(turn, next);
                     // Of the last row once more rather than not at all: after a branch it would be waited for.
                     load(conv.x + min(t + 1, end - 1) * conv.channels + c.first, c.run(), next);
                     float values[N];
                     for (int k = 0; k < N; ++k) {
                       float z = 0;
                       for (int j = 0; j < kTaps; ++j) z = fmaf(weight[j][k], window.row(turn, j)[k], z);
                       values[k] = z * sigmoid(z);
                     }
                     if constexpr (kNormed) {
                       float squares = 0;
                       for (const float value : values) squares = fmaf(value, value, squares);
                       const float rstd = 1.0f / sqrtf(c.sum(squares) + norm.eps);
                       for (float& value : values) value *= rstd;
                       if (groups.lane() == 0) norm.rstd[t * num_groups + group] = rstd;
                     }
                     if (has_channels) store(values, y + t * conv.channels + c.first, c.run());
                   });
                 });
}

// A thread per sequence and run of channels. Row r of the final state is row len + r of the initial state followed by
// the sequence's `len` rows; written in rising order, it may overwrite the initial state.
template <class T>
__global__ void __launch_bounds__(kForwardThreads) final_state_kernel(Conv<T> conv, float* final_state) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kForwardThreads + threadIdx.x;
  const std::int64_t runs = divide_up(conv.channels, kRun), sequence = thread / runs;
  const std::int64_t first = thread % runs * kRun;
  const Channels<false> c{first, conv.channels - first};
  if (sequence >= conv.sequences) return;
  const std::int64_t begin = conv.cu_seqlens[sequence], end = conv.cu_seqlens[sequence + 1];
  for (std::int64_t r = 0; r < conv.taps - 1; ++r) {
    float row[kRun];
    load_row(conv, sequence, begin, end - (conv.taps - 1) + r, c, row);
    store(row, final_state + (sequence * (conv.taps - 1) + r) * conv.channels + c.first, c.run());
  }
}

// ---- backward

constexpr int kBackwardWarps = 4, kBackwardThreads = kBackwardWarps * kWarpSize;
constexpr std::int64_t kBackwardTokens = 32;  // a warp; its lanes share the tokens
constexpr std::int64_t kBlockTokens = kBackwardWarps * kBackwardTokens;

// The gradient of s = silu(z) = z sigmoid, of which y = s rstd was made: dy - y (y . dy) is tangent to the sphere.
template <int N, bool kWhole>
__device__ __forceinline__ void differentiate_norm(const Channels<kWhole>& c, const float (&silu)[N], float rstd,
                                                   float (&dy)[N]) {
  float products = 0;
  for (int k = 0; k < N; ++k) products = fmaf(silu[k] * rstd, dy[k], products);
  const float y_dot_dy = c.sum(products);
  for (int k = 0; k < N; ++k) dy[k] = fmaf(-silu[k] * rstd, y_dot_dy, dy[k]) * rstd;
}

// Block (block of tokens, slab): a slab is the groups that a warp has room for, N channels a lane. dinitial_states may
// be null. Partials: [blocks of tokens, channels, taps], of dweight.
template <int kTaps, int N, bool kNormed, bool kWhole, class T>
__global__ void __launch_bounds__(kBackwardThreads) backward_kernel(Conv<T> conv, Groups groups, Norm norm, const T* dy,
                                                                    T* dx, float* dinitial_states, float* partials) {
  const std::int64_t warp_groups = kWarpSize / groups.lanes, num_groups = divide_up(conv.channels, groups.channels);
  const std::int64_t slabs = divide_up(num_groups, warp_groups), block = blockIdx.x / slabs;
  const std::int64_t first_group = blockIdx.x % slabs * warp_groups;
  const std::int64_t group = first_group + lane_index() / groups.lanes;
  const auto c = channels_of<N, kWhole>(groups, group, conv.channels);
  const std::int64_t first = block * kBlockTokens + warp_index() * kBackwardTokens;
  const std::int64_t last = group < num_groups ? min(first + kBackwardTokens, conv.tokens) : 0;
  const bool has_channels = !kNormed || c.count > 0;
  float weight[kTaps][N] = {}, dweight[kTaps][N] = {};
  if (group < num_groups) load_weight(conv, c, weight);
  for_each_piece(
      conv.cu_seqlens, conv.sequences, first, last, [&](std::int64_t begin, std::int64_t end, std::int64_t sequence) {
        // dx of the last tokens needs dz of the tokens after them that see them.
        const std::int64_t seen_end = min(end + kTaps - 1, static_cast<std::int64_t>(conv.cu_seqlens[sequence + 1]));
        const bool has_initial_state = dinitial_states != nullptr && begin == conv.cu_seqlens[sequence];
        Window<kTaps, N> window = window_before<kTaps, N>(conv, sequence, begin, c);
        Window<kTaps, N> dz_window = {};
        float next_row[N], next_dy[N], next_rstd = 0;
        const auto load_next = [&](std::int64_t t) {
          load(conv.x + t * conv.channels + c.first, c.run(), next_row);
          load(dy + t * conv.channels + c.first, c.run(), next_dy);
          if constexpr (kNormed) next_rstd = norm.rstd[t * num_groups + group];
        };
        load_next(begin);
        for_each_token<kTaps>(begin, end + kTaps - 1, [&](std::int64_t t, int turn) {
          float dz[N] = {};
          if (t < seen_end) {
            window.push(turn, next_row);
            for (int k = 0; k < N; ++k) dz[k] = next_dy[k];
            const float rstd = next_rstd;
            load_next(min(t + 1, seen_end - 1));
            float slopes[N], silu[N];
            for (int k = 0; k < N; ++k) {
              float z = 0;
              for (int j = 0; j < kTaps; ++j) z = fmaf(weight[j][k], window.row(turn, j)[k], z);
              const float s = sigmoid(z);
              slopes[k] = silu_derivative(z, s);
              silu[k] = z * s;
            }
            if constexpr (kNormed) differentiate_norm(c, silu, rstd, dz);
            for (int k = 0; k < N; ++k) {
              dz[k] *= slopes[k];
              if (t < end) {
                for (int j = 0; j < kTaps; ++j) dweight[j][k] = fmaf(dz[k], window.row(turn, j)[k], dweight[j][k]);
              }
            }
          }
          dz_window.push(turn, dz);
          const std::int64_t seen = t - (kTaps - 1);  // the token of row 0 of dz_window
          const std::int64_t state_row = seen - begin + conv.taps - 1;
          if (seen < begin && (!has_initial_state || state_row < 0)) return;
          float values[N] = {};
          for (int k = 0; k < N; ++k) {
            for (int j = 0; j < kTaps; ++j)
              values[k] = fmaf(weight[kTaps - 1 - j][k], dz_window.row(turn, j)[k], values[k]);
          }
          if (!has_channels) return;
          if (seen >= begin) {
            store(values, dx + seen * conv.channels + c.first, c.run());
          } else {
            const std::int64_t row = sequence * (conv.taps - 1) + state_row;
            store(values, dinitial_states + row * conv.channels + c.first, c.run());
          }
        });
      });
  float* room = dynamic_shared<float>();  // [kBackwardWarps, kTaps, N, 32]
  for (int j = 0; j < kTaps; ++j) {
    for (int k = 0; k < N; ++k) room[((warp_index() * kTaps + j) * N + k) * kWarpSize + lane_index()] = dweight[j][k];
  }
  __syncthreads();
  const std::int64_t first_channel = first_group * groups.channels;
  const std::int64_t count = min(warp_groups * groups.channels, conv.channels - first_channel) * conv.taps;
  float* out = partials + (block * conv.channels + first_channel) * conv.taps;
  for (std::int64_t i = threadIdx.x; i < count; i += kBackwardThreads) {
    const std::int64_t channel = i / conv.taps, j = i % conv.taps + kTaps - conv.taps;
    const std::int64_t in_group = channel % groups.channels;
    const std::int64_t lane = channel / groups.channels * groups.lanes + in_group / N;
    float sum = 0;
    for (int warp = 0; warp < kBackwardWarps; ++warp) {
      sum += room[((warp * kTaps + j) * N + in_group % N) * kWarpSize + lane];
    }
    out[i] = sum;
  }
}

// f(std::integral_constant<int, kTaps>) with room for that many taps.
template <class F>
void dispatch_taps(std::int64_t taps, const F& f) {
  require(taps <= kMaxTaps, "[short_conv] a GPU has kernels for at most {} taps, got {}", kMaxTaps, taps);
  if (taps <= 4) return f(std::integral_constant<int, 4>{});
  f(std::integral_constant<int, kMaxTaps>{});
}

dim3 blocks_for(std::int64_t threads) { return dim3(static_cast<unsigned>(divide_up(threads, kForwardThreads))); }

// Whether the channels of lanes, N each, are whole runs of what both directions read.
template <int N, class T>
bool has_whole_runs(const Conv<T>& conv, const Groups& groups) {
  return groups.channels % N == 0 && conv.channels % groups.channels == 0 &&
         are_aligned(conv.x, conv.weight, conv.initial_state);
}

template <int kTaps, bool kNormed, class T>
void run_forward(const Conv<T>& conv, const Groups& groups, const Norm& norm, const Tensor& y,
                 const Tensor& final_state, Stream stream) {
  const std::int64_t lanes = divide_up(conv.channels, groups.channels) * groups.lanes;
  dispatch_bool(has_whole_runs<kForwardChannels<kTaps>>(conv, groups) && are_aligned(y.data<T>()), [&](auto whole) {
    launch(forward_kernel<kTaps, kNormed, decltype(whole)::value, T>,
           blocks_for(divide_up(conv.tokens, kForwardTokens) * lanes), kForwardThreads, 0, stream, conv, groups, norm,
           y.data<T>());
  });
  if (final_state.defined()) {
    launch(final_state_kernel<T>, blocks_for(conv.sequences * divide_up(conv.channels, kRun)), kForwardThreads, 0,
           stream, conv, final_state.data<float>());
  }
}

// N channels a lane.
template <int kTaps, int N, bool kNormed, class T>
void run_backward(const Conv<T>& conv, const Groups& groups, const Norm& norm, const Tensor& dy,
                  const ShortConvGradients& gradients, Stream stream) {
  const auto& [dx, dweight, dinitial_state] = gradients;
  if (dinitial_state) dinitial_state.fill_zero();  // of sequences without tokens
  float* dinitial_states = dinitial_state ? dinitial_state.data<float>() : nullptr;
  const std::int64_t blocks = divide_up(conv.tokens, kBlockTokens);
  const std::int64_t slabs = divide_up(divide_up(conv.channels, groups.channels), kWarpSize / groups.lanes);
  const Tensor partials = Tensor::empty(Shape{blocks, dweight.numel()}, DType::kFloat32, dy.device());
  const bool is_aligned = are_aligned(dy.data<T>(), gradients.dx.template data<T>(), dinitial_states);
  dispatch_bool(has_whole_runs<N>(conv, groups) && is_aligned, [&](auto whole) {
    launch(backward_kernel<kTaps, N, kNormed, decltype(whole)::value, T>, dim3(static_cast<unsigned>(blocks * slabs)),
           kBackwardThreads, kBackwardThreads * kTaps * N * static_cast<std::int64_t>(sizeof(float)), stream, conv,
           groups, norm, dy.data<T>(), gradients.dx.template data<T>(), dinitial_states, partials.data<float>());
  });
  add_column_sums(partials, dweight, stream);
}

}  // namespace

void short_conv_forward(const ShortConvInputs& inputs, const Tensor& y, const Tensor& final_state, Stream stream) {
  dispatch_float(y.dtype(), [&]<class T>() {
    const Conv<T> conv = conv_of<T>(inputs);
    dispatch_taps(conv.taps, [&](auto taps) {
      constexpr int kTaps = decltype(taps)::value;
      run_forward<kTaps, false>(conv, {kForwardChannels<kTaps>, 1}, {}, y, final_state, stream);
    });
  });
}

void short_conv_backward(const ShortConvInputs& inputs, const Tensor& dy, const ShortConvGradients& gradients,
                         Stream stream) {
  constexpr int N = 4;
  dispatch_float(dy.dtype(), [&]<class T>() {
    const Conv<T> conv = conv_of<T>(inputs);
    dispatch_taps(conv.taps, [&](auto taps) {
      run_backward<decltype(taps)::value, N, false>(conv, Groups{N, 1}, {}, dy, gradients, stream);
    });
  });
}

void short_conv_l2_norm_forward(const ShortConvInputs& inputs, float eps, const Tensor& y, const Tensor& rstd,
                                const Tensor& final_state, Stream stream) {
  constexpr int kTaps = kMaxFusedTaps;
  static_assert(kForwardChannels<kTaps> * kWarpSize >= kMaxFusedHeadDim);
  dispatch_float(y.dtype(), [&]<class T>() {
    const Groups heads = groups_of<kForwardChannels<kTaps>>(y.size(2));
    run_forward<kTaps, true>(conv_of<T>(inputs), heads, {eps, rstd.data<float>()}, y, final_state, stream);
  });
}

void short_conv_l2_norm_backward(const ShortConvInputs& inputs, const Tensor&, const Tensor& rstd, const Tensor& dy,
                                 const ShortConvGradients& gradients, Stream stream) {
  constexpr int kTaps = kMaxFusedTaps;
  const std::int64_t head_dim = dy.size(2);
  const Norm norm{0, rstd.data<float>()};
  dispatch_float(dy.dtype(), [&]<class T>() {
    const Conv<T> conv = conv_of<T>(inputs);
    const auto run_with = [&]<int N>() {
      run_backward<kTaps, N, true>(conv, groups_of<N>(head_dim), norm, dy, gradients, stream);
    };
    if (head_dim <= 4 * kWarpSize) return run_with.template operator()<4>();
    run_with.template operator()<8>();
  });
}

}  // namespace mudelta::kernels::cuda
