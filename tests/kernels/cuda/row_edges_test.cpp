#include "kernels/row_edges.h"

#include <gtest/gtest.h>

#include "kernels/short_conv_halo.h"
#include "tests/kernels/cuda/on_device.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;

class RowEdgesOnDevice : public DeviceTest {};

// Documents come into parts 0 and 2 of three, from 2 and 9 tokens before.
Tensor three_parts() {
  const std::int32_t edges[] = {0, 1, 2, 2, 2, 0, 3, 4, 9};
  return Tensor::from(edges, {3, 3});
}

TEST_F(RowEdgesOnDevice, PutAndTake) {
  for (const std::int64_t n : {1, 7, 300}) {
    const Tensor of_parts = random_normal({3, n}, "parts"), of_sequences = random_normal({5, n}, "sequences");
    for (const Edge edge : {Edge::kBegin, Edge::kEnd}) {
      expect_as_on_host({three_parts(), of_parts, filled({5, n})},
                        [edge](const Tensors& t, Stream stream) { put_at_edges(edge, t[0], t[1], t[2], stream); });
      expect_as_on_host({three_parts(), of_sequences, filled({3, n})},
                        [edge](const Tensors& t, Stream stream) { take_from_edges(edge, t[0], t[1], t[2], stream); });
    }
  }
}

TEST_F(RowEdgesOnDevice, Halo) {
  constexpr std::int64_t kRanks = 4, kChannels = 5, kAll = 9, kFirst = 2;
  for (const DType dtype : kFloatTypes) {
    for (const auto& [length, before] : {std::pair{6, 3}, {3, 3}, {2, 3}, {1, 3}, {1, 1}, {4, 5}}) {
      SCOPED_TRACE(std::to_string(length) + " tokens, " + std::to_string(before) + " before");
      const PartPlace place{.rank = 3, .length = length};
      const std::int64_t n = place.tail_rows(before + 1);
      // A document cannot reach further back than the ranks do.
      std::int32_t edges[] = {0, 1, 2, 2, 2, 0, 3, 4, 9};
      for (std::int32_t& value : edges) value = std::min<std::int32_t>(value, static_cast<std::int32_t>(3 * length));
      edges[3] = edges[4] = 2, edges[6] = 3, edges[7] = 4;
      const Tensor edge = Tensor::from(edges, {3, 3});
      const Tensor x = random_normal({3 * length, kChannels}, "x", 1, 0, 1, dtype);
      expect_as_on_host({x, filled({3, n, kAll}, dtype)},
                        [](const Tensors& t, Stream stream) { take_tails(t[0], kFirst, t[1], stream); });
      expect_as_on_host(
          {random_normal({kRanks, 3, n, kAll}, "tails", 1, 0, 1, dtype), edge, filled({5, before, kChannels})},
          [place](const Tensors& t, Stream stream) {
            initial_state_from_tails(t[0], kFirst, t[1], place, t[2], stream);
          });
      expect_as_on_host({random_normal({5, before, kChannels}, "d"), edge, filled({3, before, kAll})},
                        [](const Tensors& t, Stream stream) { take_head_gradients(t[0], kFirst, t[1], t[2], stream); });
      expect_as_on_host({random_normal({kRanks, 3, before, kAll}, "heads"), x},
                        [length](const Tensors& t, Stream stream) {
                          add_head_gradients(t[0], kFirst, {.rank = 1, .length = length}, t[1], stream);
                        });
    }
  }
}

}  // namespace
}  // namespace mudelta::testing
