#include "kernels/row_edges.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"
#include "kernels/row_blocks.h"

namespace mudelta::kernels {
namespace {

// Throws Error unless both are float32 and alike but for the first dimension, which is of sequences and of parts.
void check(std::string_view op, const Tensor& edges, const Tensor& of_sequences, const Tensor& of_parts) {
  require(of_sequences.defined() && of_sequences.shape().rank() > 0, "[{}] expected [sequences, ...], got {}", op,
          of_sequences.to_string());
  expect_row_edges(op, edges, of_sequences.size(0));
  require(of_parts.defined() && of_parts.shape().rank() == of_sequences.shape().rank() &&
              of_parts.size(0) == edges.size(0) && of_parts.dtype() == DType::kFloat32 &&
              of_sequences.dtype() == DType::kFloat32 &&
              of_parts.numel() * of_sequences.size(0) == of_sequences.numel() * of_parts.size(0),
          "[{}] expected float32 of {} parts and {} sequences, alike but for that, got {} and {}", op, edges.size(0),
          of_sequences.size(0), of_parts.to_string(), of_sequences.to_string());
}

// body(part, sequence) for each part; sequence -1 where nothing crosses the edge.
template <class Body>
void for_each_edge(Edge edge, const Tensor& edges, const Body& body) {
  const std::int32_t* rows = edges.data<std::int32_t>();
  parallel_for(edges.size(0), [&](std::int64_t part) {
    const std::int32_t* row = rows + part * kEdgeColumns;
    body(part, edge == Edge::kEnd ? row[kLastSequence] : row[kTokensBefore] > 0 ? row[kFirstSequence] : -1);
  });
}

}  // namespace

void expect_row_edges(std::string_view op, const Tensor& edges, std::int64_t sequences) {
  require(
      edges.defined() && edges.dtype() == DType::kInt32 && edges.shape().rank() == 2 && edges.size(1) == kEdgeColumns,
      "[{}] edges: expected int32 [parts, {}], got {}", op, static_cast<int>(kEdgeColumns), edges.to_string());
  if (edges.device().is_cuda()) return;
  const std::int32_t* rows = edges.data<std::int32_t>();
  for (std::int64_t part = 0; part < edges.size(0); ++part) {
    const std::int32_t* row = rows + part * kEdgeColumns;
    require(0 <= row[kFirstSequence] && row[kFirstSequence] <= row[kLastSequence] && row[kLastSequence] < sequences &&
                row[kTokensBefore] >= 0,
            "[{}] edges: part {} has first sequence {}, last {} and {} tokens before, with {} sequences", op, part,
            row[kFirstSequence], row[kLastSequence], row[kTokensBefore], sequences);
  }
}

void put_at_edges(Edge edge, const Tensor& edges, const Tensor& x, const Tensor& out, Stream stream) {
  check("put_at_edges", edges, out, x);
  out.fill_zero();
  if (x.numel() == 0) return;
  if (out.device().is_cuda()) return cuda_twin<put_at_edges>()(edge, edges, x, out, stream);
  const std::int64_t n = x.numel() / x.size(0);
  for_each_edge(edge, edges, [&, from = x.data<float>(), to = out.data<float>()](std::int64_t part, std::int64_t s) {
    if (s >= 0) std::copy_n(from + part * n, n, to + s * n);
  });
}

void take_from_edges(Edge edge, const Tensor& edges, const Tensor& x, const Tensor& out, Stream stream) {
  check("take_from_edges", edges, x, out);
  if (out.numel() == 0) return;
  if (out.device().is_cuda()) return cuda_twin<take_from_edges>()(edge, edges, x, out, stream);
  const std::int64_t n = out.numel() / out.size(0);
  for_each_edge(edge, edges, [&, from = x.data<float>(), to = out.data<float>()](std::int64_t part, std::int64_t s) {
    s >= 0 ? std::copy_n(from + s * n, n, to + part * n) : std::fill_n(to + part * n, n, 0.0f);
  });
}

}  // namespace mudelta::kernels
