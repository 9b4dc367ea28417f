#include "kernels/cuda/vector_io.h"
#include "kernels/row_edges.h"
#include "kernels/short_conv_halo.h"

// An element a thread: a few rows of each part are little beside its tokens.
namespace mudelta::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__device__ std::int64_t thread_number() { return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; }
dim3 blocks_for(std::int64_t threads) { return dim3(static_cast<unsigned>(divide_up(threads, kThreads))); }

struct Sizes {
  std::int64_t ranks, parts, channels;
  std::int64_t rows;          // of a part at an edge: `tails` of its end, `before` of its beginning
  std::int64_t all_channels;  // of the arrays that travel, and the first one that is meant
  std::int64_t first_channel;
  std::int64_t length;
  int rank;

  __device__ std::int64_t index(std::int64_t of_rank, std::int64_t part, std::int64_t row, std::int64_t channel) const {
    return ((of_rank * parts + part) * rows + row) * all_channels + first_channel + channel;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads) take_tails_kernel(Sizes s, const T* x, T* tails) {
  const std::int64_t i = thread_number(), channel = i % s.channels, row = i / s.channels % s.rows;
  const std::int64_t part = i / s.channels / s.rows;
  if (part >= s.parts) return;
  tails[s.index(0, part, row, channel)] = x[((part + 1) * s.length - s.rows + row) * s.channels + channel];
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    initial_state_kernel(Sizes s, const T* all_tails, const std::int32_t* edges, std::int64_t before, float* state) {
  const std::int64_t i = thread_number(), channel = i % s.channels, back = i / s.channels % before + 1;
  const std::int64_t part = i / s.channels / before;
  if (part >= s.parts || back > edges[part * kEdgeColumns + kTokensBefore]) return;
  const std::int64_t rank = s.rank - 1 - (back - 1) / s.length, row = s.rows - 1 - (back - 1) % s.length;
  const std::int64_t sequence = edges[part * kEdgeColumns + kFirstSequence];
  state[(sequence * before + before - back) * s.channels + channel] =
      to_float(all_tails[s.index(rank, part, row, channel)]);
}

__global__ void __launch_bounds__(kThreads)
    take_heads_kernel(Sizes s, const float* dstate, const std::int32_t* edges, float* heads) {
  const std::int64_t i = thread_number(), channel = i % s.channels, row = i / s.channels % s.rows;
  const std::int64_t part = i / s.channels / s.rows;
  if (part >= s.parts) return;
  const std::int32_t* edge = edges + part * kEdgeColumns;
  const std::int64_t sequence = edge[kFirstSequence];
  heads[s.index(0, part, row, channel)] =
      s.rows - row <= edge[kTokensBefore] ? dstate[(sequence * s.rows + row) * s.channels + channel] : 0.0f;
}

template <class T>
__global__ void __launch_bounds__(kThreads) add_heads_kernel(Sizes s, std::int64_t n, const float* all_heads, T* dx) {
  const std::int64_t i = thread_number(), channel = i % s.channels, from_end = i / s.channels % n + 1;
  const std::int64_t part = i / s.channels / n;
  if (part >= s.parts) return;
  float sum = 0;
  for (std::int64_t rank = s.rank + 1, back = from_end; rank < s.ranks && back <= s.rows; ++rank, back += s.length) {
    sum += all_heads[s.index(rank, part, s.rows - back, channel)];
  }
  T* element = dx + ((part + 1) * s.length - from_end) * s.channels + channel;
  *element = from_float<T>(to_float(*element) + sum);
}

// Of an array [(ranks,) parts, rows, channels] that travels.
Sizes sizes_of(const Tensor& array, std::int64_t first_channel, std::int64_t channels, const PartPlace& place) {
  const int dims = array.shape().rank();
  return {.ranks = dims == 4 ? array.size(0) : 1,
          .parts = array.size(dims - 3),
          .channels = channels,
          .rows = array.size(dims - 2),
          .all_channels = array.size(dims - 1),
          .first_channel = first_channel,
          .length = place.length,
          .rank = place.rank};
}

}  // namespace

void take_tails(const Tensor& x, std::int64_t first_channel, const Tensor& tails, Stream stream) {
  const Sizes sizes = sizes_of(tails, first_channel, x.size(1), {.rank = 0, .length = x.size(0) / tails.size(0)});
  dispatch_float(x.dtype(), [&]<class T>() {
    launch(take_tails_kernel<T>, blocks_for(sizes.parts * sizes.rows * sizes.channels), kThreads, 0, stream, sizes,
           x.data<T>(), tails.data<T>());
  });
}

void initial_state_from_tails(const Tensor& all_tails, std::int64_t first_channel, const Tensor& edges,
                              const PartPlace& place, const Tensor& initial_state, Stream stream) {
  const std::int64_t before = initial_state.size(1);
  const Sizes sizes = sizes_of(all_tails, first_channel, initial_state.size(2), place);
  dispatch_float(all_tails.dtype(), [&]<class T>() {
    launch(initial_state_kernel<T>, blocks_for(sizes.parts * before * sizes.channels), kThreads, 0, stream, sizes,
           all_tails.data<T>(), edges.data<std::int32_t>(), before, initial_state.data<float>());
  });
}

void take_head_gradients(const Tensor& dinitial_state, std::int64_t first_channel, const Tensor& edges,
                         const Tensor& heads, Stream stream) {
  const Sizes sizes = sizes_of(heads, first_channel, dinitial_state.size(2), {.rank = 0, .length = 0});
  launch(take_heads_kernel, blocks_for(sizes.parts * sizes.rows * sizes.channels), kThreads, 0, stream, sizes,
         dinitial_state.data<float>(), edges.data<std::int32_t>(), heads.data<float>());
}

void add_head_gradients(const Tensor& all_heads, std::int64_t first_channel, const PartPlace& place, const Tensor& dx,
                        Stream stream) {
  const Sizes sizes = sizes_of(all_heads, first_channel, dx.size(1), place);
  const std::int64_t n = place.tail_rows(sizes.rows + 1);
  dispatch_float(dx.dtype(), [&]<class T>() {
    launch(add_heads_kernel<T>, blocks_for(sizes.parts * n * sizes.channels), kThreads, 0, stream, sizes, n,
           all_heads.data<float>(), dx.data<T>());
  });
}

}  // namespace mudelta::kernels::cuda
