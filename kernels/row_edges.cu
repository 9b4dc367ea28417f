#include "kernels/cuda/simt.h"
#include "kernels/row_edges.h"

namespace mudelta::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// The sequence at the edge of a part, or -1.
__device__ std::int64_t sequence_at(Edge edge, const std::int32_t* edges, std::int64_t part) {
  const std::int32_t* row = edges + part * kEdgeColumns;
  if (edge == Edge::kEnd) return row[kLastSequence];
  return row[kTokensBefore] > 0 ? row[kFirstSequence] : -1;
}

// n elements a part; puts, or takes.
template <bool kPuts>
__global__ void __launch_bounds__(kThreads)
    edges_kernel(Edge edge, const std::int32_t* edges, std::int64_t count, std::int64_t n, const float* x, float* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t sequence = sequence_at(edge, edges, i / n);
  if (kPuts) {
    if (sequence >= 0) out[sequence * n + i % n] = x[i];
  } else {
    out[i] = sequence >= 0 ? x[sequence * n + i % n] : 0.0f;
  }
}

template <bool kPuts>
void run(Edge edge, const Tensor& edges, const Tensor& of_parts, const Tensor& x, const Tensor& out, Stream stream) {
  const std::int64_t count = of_parts.numel(), n = count / of_parts.size(0);
  launch(edges_kernel<kPuts>, dim3(static_cast<unsigned>(divide_up(count, kThreads))), kThreads, 0, stream, edge,
         edges.data<std::int32_t>(), count, n, x.data<float>(), out.data<float>());
}

}  // namespace

void put_at_edges(Edge edge, const Tensor& edges, const Tensor& x, const Tensor& out, Stream stream) {
  run<true>(edge, edges, x, x, out, stream);
}

void take_from_edges(Edge edge, const Tensor& edges, const Tensor& x, const Tensor& out, Stream stream) {
  run<false>(edge, edges, out, x, out, stream);
}

}  // namespace mudelta::kernels::cuda
