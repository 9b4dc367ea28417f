#include "kernels/cuda/vector_io.h"
#include "kernels/embedding.h"

namespace mudelta::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarpSize;

// A warp per token.
template <bool kWhole, class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* table, std::int64_t rows, std::int64_t first_token, const std::int32_t* tokens,
                   std::int64_t n, std::int64_t width, float* y) {
  const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kWarps + warp_index();
  if (t >= n) return;
  const std::int64_t row = tokens[t] - first_token;
  const bool is_here = 0 <= row && row < rows;
  for (std::int64_t i = lane_index() * kRun; i < width; i += kWarpSize * kRun) {
    float values[kRun] = {};
    if (is_here) load(table + row * width + i, run_of<kWhole>(width - i), values);
    store(values, y + t * width + i, run_of<kWhole>(width - i));
  }
}

// The backward pass sorts the positions by token, stably, and then sums runs of equal tokens in chunks of kChunk sorted
// positions: work is spread evenly however often a token occurs (the most frequent one makes up percents of a text),
// nothing depends on the size of the vocabulary, and the order of summation is that of the positions in pieces cut by
// the chunks.

// order [n] = the positions sorted by (token, position), sorted [n] = their tokens. Counts, for each position, those
// that come before it: n^2 comparisons, of two instructions each. A warp takes kWarpPositions.
constexpr int kWarpPositions = 8;
__global__ void __launch_bounds__(kThreads)
    sort_kernel(const std::int32_t* tokens, std::int64_t n, std::int32_t* order, std::int32_t* sorted) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kWarps + warp_index()) * kWarpPositions;
  if (first >= n) return;
  std::int32_t own[kWarpPositions];
  for (int p = 0; p < kWarpPositions; ++p) own[p] = first + p < n ? tokens[first + p] : 0;
  int before[kWarpPositions] = {};
  // The tokens below own[p] + ties. They are not negative, so that the sign of a difference is the comparison.
  const auto count = [&](std::int32_t ties, std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin + lane_index(); t < end; t += kWarpSize) {
      const std::int32_t token = tokens[t];
      for (int p = 0; p < kWarpPositions; ++p) before[p] += static_cast<std::uint32_t>(token - (own[p] + ties)) >> 31;
    }
  };
  count(1, 0, first);  // of equal tokens, those at lower positions come first
  if (const int q = lane_index(); q < kWarpPositions && first + q < n) {
    const std::int32_t token = tokens[first + q];
    for (int p = 0; p < kWarpPositions; ++p) before[p] += token < own[p] || (token == own[p] && q < p);
  }
  count(0, first + kWarpPositions, n);
#pragma unroll
  for (int p = 0; p < kWarpPositions; ++p) {
    before[p] = warp_sum(before[p]);
    if (lane_index() == p && first + p < n) {
      order[before[p]] = static_cast<std::int32_t>(first + p);
      sorted[before[p]] = own[p];
    }
  }
}

// Threads have kColumns columns each.
constexpr std::int64_t kChunk = 32;
constexpr int kColumns = 4, kChunkThreads = 128;

template <bool kWhole>
struct Backward {
  const std::int32_t *order, *sorted;
  const float* dy;
  std::int64_t n, width;
  std::int64_t rows, first_token;  // of dtable
  // [chunks, width]: what a chunk has of the token that its predecessor ends with, and of the token that starts in it
  // and that its successor begins with.
  float *heads, *tails;
  float* dtable;

  // What there is of the columns from `column` on.
  __device__ auto rest(std::int64_t column) const { return run_of<kWhole>(width - column); }
  // Whether sorted positions i - 1 and i hold the same token.
  __device__ bool continues(std::int64_t i) const { return i > 0 && i < n && sorted[i - 1] == sorted[i]; }
};

// The chunk and the first column of a thread.
struct Place {
  __device__ explicit Place(std::int64_t width)
      : chunk(blockIdx.x / blocks_per_chunk(width)),
        column((blockIdx.x % blocks_per_chunk(width) * kChunkThreads + threadIdx.x) * kColumns) {}
  static constexpr std::int64_t blocks_per_chunk(std::int64_t width) {
    return divide_up(width, kColumns * kChunkThreads);
  }
  std::int64_t chunk, column;
};

template <bool kWhole>
__device__ void add_to_row(const Backward<kWhole>& b, std::int32_t token, std::int64_t column,
                           const float (&sum)[kColumns]) {
  const std::int64_t index = token - b.first_token;
  if (index < 0 || index >= b.rows) return;
  float* row = b.dtable + index * b.width + column;
  float values[kColumns];
  load(row, b.rest(column), values);
  for (int k = 0; k < kColumns; ++k) values[k] += sum[k];
  store(values, row, b.rest(column));
}

template <bool kWhole>
__global__ void __launch_bounds__(kChunkThreads) sum_chunks_kernel(Backward<kWhole> b) {
  const Place place(b.width);
  if (place.column >= b.width) return;
  const std::int64_t begin = place.chunk * kChunk, end = min(begin + kChunk, b.n);
  const auto rest = b.rest(place.column);
  bool is_head = b.continues(begin);
  std::int32_t token = b.sorted[begin];
  float sum[kColumns] = {};
  for (std::int64_t i = begin; i < end; ++i) {
    float values[kColumns];
    load(b.dy + b.order[i] * b.width + place.column, rest, values);
    for (int k = 0; k < kColumns; ++k) sum[k] += values[k];
    const std::int32_t next = i + 1 < b.n ? b.sorted[i + 1] : -1;
    const bool ends_here = next != token;
    if (is_head && (ends_here || i + 1 == end)) {
      store(sum, b.heads + place.chunk * b.width + place.column, rest);
    } else if (ends_here) {
      add_to_row(b, token, place.column, sum);
    } else if (i + 1 == end) {
      store(sum, b.tails + place.chunk * b.width + place.column, rest);
    }
    if (ends_here) {
      is_head = false;
      for (float& x : sum) x = 0;
    }
    token = next;
  }
}

// For the token that starts in a chunk and goes on in the next ones: adds up its pieces.
template <bool kWhole>
__global__ void __launch_bounds__(kChunkThreads) join_chunks_kernel(Backward<kWhole> b) {
  const Place place(b.width);
  if (place.column >= b.width) return;
  const std::int64_t begin = place.chunk * kChunk, end = begin + kChunk;
  const auto rest = b.rest(place.column);
  if (!b.continues(end)) return;
  const std::int32_t token = b.sorted[end];
  if (b.continues(begin) && b.sorted[begin] == token) return;  // it started earlier
  float sum[kColumns];
  load(b.tails + place.chunk * b.width + place.column, rest, sum);
  for (std::int64_t chunk = place.chunk + 1; chunk * kChunk < b.n && b.sorted[chunk * kChunk] == token; ++chunk) {
    float values[kColumns];
    load(b.heads + chunk * b.width + place.column, rest, values);
    for (int k = 0; k < kColumns; ++k) sum[k] += values[k];
  }
  add_to_row(b, token, place.column, sum);
}

}  // namespace

void embedding_forward(const Tensor& table, const Tensor& tokens, const Tensor& y, Stream stream,
                       const VocabularyPart& part) {
  const std::int64_t n = y.size(0), width = y.size(1);
  dispatch_float(table.dtype(), [&]<class T>() {
    dispatch_bool(width % kRun == 0 && are_aligned(table.data<T>(), y.data<float>()), [&](auto whole) {
      launch(forward_kernel<decltype(whole)::value, T>, dim3(static_cast<unsigned>(divide_up(n, kWarps))), kThreads, 0,
             stream, table.data<T>(), table.size(0), part.begin, tokens.data<std::int32_t>(), n, width,
             y.data<float>());
    });
  });
}

void embedding_backward(const Tensor& tokens, const Tensor& dy, const Tensor& dtable, Stream stream,
                        const VocabularyPart& part) {
  const std::int64_t n = dy.size(0), width = dy.size(1), chunks = divide_up(n, kChunk);
  const Tensor order = Tensor::empty({n}, DType::kInt32, dy.device());
  const Tensor sorted = Tensor::empty({n}, DType::kInt32, dy.device());
  const Tensor pieces = Tensor::empty({2, chunks, width}, DType::kFloat32, dy.device());
  launch(sort_kernel, dim3(static_cast<unsigned>(divide_up(n, kWarps * kWarpPositions))), kThreads, 0, stream,
         tokens.data<std::int32_t>(), n, order.data<std::int32_t>(), sorted.data<std::int32_t>());
  const dim3 grid(static_cast<unsigned>(chunks * Place::blocks_per_chunk(width)));
  dispatch_bool(width % kColumns == 0 && are_aligned(dy.data<float>(), dtable.data<float>()), [&](auto whole) {
    constexpr bool kWhole = decltype(whole)::value;
    const Backward<kWhole> b{.order = order.data<std::int32_t>(),
                             .sorted = sorted.data<std::int32_t>(),
                             .dy = dy.data<float>(),
                             .n = n,
                             .width = width,
                             .rows = dtable.size(0),
                             .first_token = part.begin,
                             .heads = pieces.data<float>(),
                             .tails = pieces.data<float>() + chunks * width,
                             .dtable = dtable.data<float>()};
    launch(sum_chunks_kernel<kWhole>, grid, kChunkThreads, 0, stream, b);
    launch(join_chunks_kernel<kWhole>, grid, kChunkThreads, 0, stream, b);
  });
}

}  // namespace mudelta::kernels::cuda
