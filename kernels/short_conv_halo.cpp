#include "kernels/short_conv_halo.h"

#include "kernels/check.h"
#include "kernels/cuda_twin.h"
#include "kernels/row_blocks.h"
#include "kernels/row_edges.h"

namespace mudelta::kernels {
namespace {

// Throws Error unless `rows` has at least `channels` channels from `first_channel` on, in `rank` dimensions.
void expect_channels(std::string_view op, std::string_view name, const Tensor& rows, int rank,
                     std::int64_t first_channel, std::int64_t channels) {
  require(is_floating(rows) && rows.shape().rank() == rank && first_channel >= 0 &&
              first_channel + channels <= rows.size(rank - 1),
          "[{}] {}: expected {} dimensions with channels {} to {}, got {}", op, name, rank, first_channel,
          first_channel + channels, rows.to_string());
}

void expect_state(std::string_view op, std::string_view name, const Tensor& state, const Tensor& edges) {
  require(state.defined() && state.dtype() == DType::kFloat32 && state.shape().rank() == 3,
          "[{}] {}: expected float32 [sequences, taps - 1, channels], got {}", op, name, state.to_string());
  expect_row_edges(op, edges, state.size(0));
}

// The address of row (.., rows of a part, channels) number i of a tensor, from a channel on.
template <class T>
T* row_at(const Tensor& rows, std::int64_t i, std::int64_t first_channel) {
  return rows.data<T>() + i * rows.size(rows.shape().rank() - 1) + first_channel;
}

template <class T>
void copy_row(const T* from, std::int64_t channels, float* to) {
  for (std::int64_t c = 0; c < channels; ++c) to[c] = static_cast<float>(from[c]);
}

}  // namespace

void take_tails(const Tensor& x, std::int64_t first_channel, const Tensor& tails, Stream stream) {
  constexpr auto kOp = "take_tails";
  expect_floating_matrix(kOp, "x", x, "[tokens, channels]");
  expect_channels(kOp, "tails", tails, 3, first_channel, x.size(1));
  const std::int64_t parts = tails.size(0), n = tails.size(1), channels = x.size(1);
  require(tails.dtype() == x.dtype() && parts > 0 && x.size(0) % parts == 0 && x.size(0) / parts >= n,
          "[{}] tails: expected the last rows of parts of {}, got {}", kOp, x.to_string(), tails.to_string());
  if (x.device().is_cuda()) return cuda_twin<take_tails>()(x, first_channel, tails, stream);
  const std::int64_t length = x.size(0) / parts;
  dispatch_float(x.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < parts * n; ++i) {
      const std::int64_t row = (i / n + 1) * length - n + i % n;
      std::copy_n(row_at<T>(x, row, 0), channels, row_at<T>(tails, i, first_channel));
    }
  });
}

void initial_state_from_tails(const Tensor& all_tails, std::int64_t first_channel, const Tensor& edges,
                              const PartPlace& place, const Tensor& initial_state, Stream stream) {
  constexpr auto kOp = "initial_state_from_tails";
  expect_state(kOp, "initial_state", initial_state, edges);
  const std::int64_t parts = edges.size(0), before = initial_state.size(1), channels = initial_state.size(2);
  const std::int64_t n = place.tail_rows(before + 1);
  expect_channels(kOp, "all_tails", all_tails, 4, first_channel, channels);
  require(all_tails.size(1) == parts && all_tails.size(2) == n && place.rank < all_tails.size(0),
          "[{}] all_tails: expected {} rows of {} parts, of more than {} ranks, got {}", kOp, n, parts, place.rank,
          all_tails.to_string());
  initial_state.fill_zero();
  if (initial_state.device().is_cuda()) {
    return cuda_twin<initial_state_from_tails>()(all_tails, first_channel, edges, place, initial_state, stream);
  }
  dispatch_float(all_tails.dtype(), [&]<class T>() {
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int32_t* edge = edges.data<std::int32_t>() + part * kEdgeColumns;
      for (std::int64_t back = 1; back <= std::min<std::int64_t>(before, edge[kTokensBefore]); ++back) {
        const std::int64_t rank = place.rank - 1 - (back - 1) / place.length;
        const std::int64_t row = n - 1 - (back - 1) % place.length;
        copy_row(row_at<T>(all_tails, (rank * parts + part) * n + row, first_channel), channels,
                 row_at<float>(initial_state, edge[kFirstSequence] * before + before - back, 0));
      }
    }
  });
}

void take_head_gradients(const Tensor& dinitial_state, std::int64_t first_channel, const Tensor& edges,
                         const Tensor& heads, Stream stream) {
  constexpr auto kOp = "take_head_gradients";
  expect_state(kOp, "dinitial_state", dinitial_state, edges);
  const std::int64_t parts = edges.size(0), before = dinitial_state.size(1), channels = dinitial_state.size(2);
  expect_channels(kOp, "heads", heads, 3, first_channel, channels);
  require(heads.dtype() == DType::kFloat32 && heads.size(0) == parts && heads.size(1) == before,
          "[{}] heads: expected float32 [{}, {}, ...], got {}", kOp, parts, before, heads.to_string());
  if (heads.device().is_cuda()) {
    return cuda_twin<take_head_gradients>()(dinitial_state, first_channel, edges, heads, stream);
  }
  for (std::int64_t i = 0; i < parts * before; ++i) {
    const std::int32_t* edge = edges.data<std::int32_t>() + i / before * kEdgeColumns;
    const std::int64_t row = i % before;
    float* to = row_at<float>(heads, i, first_channel);
    if (before - row <= edge[kTokensBefore]) {
      std::copy_n(row_at<float>(dinitial_state, edge[kFirstSequence] * before + row, 0), channels, to);
    } else {
      std::fill_n(to, channels, 0.0f);
    }
  }
}

void add_head_gradients(const Tensor& all_heads, std::int64_t first_channel, const PartPlace& place, const Tensor& dx,
                        Stream stream) {
  constexpr auto kOp = "add_head_gradients";
  expect_floating_matrix(kOp, "dx", dx, "[tokens, channels]");
  expect_channels(kOp, "all_heads", all_heads, 4, first_channel, dx.size(1));
  const std::int64_t ranks = all_heads.size(0), parts = all_heads.size(1), before = all_heads.size(2);
  require(all_heads.dtype() == DType::kFloat32 && parts * place.length == dx.size(0),
          "[{}] all_heads: expected float32 of parts of {} tokens, got {} with dx {}", kOp, place.length,
          all_heads.to_string(), dx.to_string());
  if (dx.device().is_cuda()) return cuda_twin<add_head_gradients>()(all_heads, first_channel, place, dx, stream);
  const std::int64_t n = place.tail_rows(before + 1), channels = dx.size(1);
  dispatch_float(dx.dtype(), [&]<class T>() {
    parallel_for(parts * n, [&](std::int64_t i) {
      const std::int64_t part = i / n, from_end = n - i % n;
      T* row = row_at<T>(dx, (part + 1) * place.length - from_end, 0);
      for (std::int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (std::int64_t rank = place.rank + 1, back = from_end; rank < ranks && back <= before;
             ++rank, back += place.length) {
          sum += row_at<float>(all_heads, (rank * parts + part) * before + before - back, first_channel)[c];
        }
        row[c] = static_cast<T>(static_cast<float>(row[c]) + sum);
      }
    });
  });
}

}  // namespace mudelta::kernels
