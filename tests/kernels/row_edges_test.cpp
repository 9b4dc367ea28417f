#include "kernels/row_edges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/short_conv_halo.h"
#include "tests/support/errors.h"
#include "tests/support/op_case.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;
using ::testing::HasSubstr;

// Three parts: of sequences 0 and 1, of 2, of 3; documents come into the first and the last.
Tensor three_parts() {
  const std::int32_t edges[] = {0, 1, 2, 2, 2, 0, 3, 3, 9};
  return Tensor::from(edges, {3, 3});
}

std::vector<float> values_of(const Tensor& tensor) {
  const auto span = tensor.span<float>();
  return {span.begin(), span.end()};
}

Tensor column(const std::vector<float>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size()), 1});
}

TEST(RowEdges, PutAndTake) {
  const Tensor all = filled({4, 1}), parts = filled({3, 1});
  put_at_edges(Edge::kBegin, three_parts(), column({1, 2, 3}), all, {});
  EXPECT_EQ(values_of(all), (std::vector<float>{1, 0, 0, 3}));
  put_at_edges(Edge::kEnd, three_parts(), column({1, 2, 3}), all, {});
  EXPECT_EQ(values_of(all), (std::vector<float>{0, 1, 2, 3}));
  take_from_edges(Edge::kBegin, three_parts(), column({1, 2, 3, 4}), parts, {});
  EXPECT_EQ(values_of(parts), (std::vector<float>{1, 0, 4}));
  take_from_edges(Edge::kEnd, three_parts(), column({1, 2, 3, 4}), parts, {});
  EXPECT_EQ(values_of(parts), (std::vector<float>{2, 3, 4}));
}

TEST(RowEdges, ShapesThatDoNotFitAreNamed) {
  EXPECT_THAT(error_of([] {
                put_at_edges(Edge::kEnd, three_parts(), filled({2, 1}), filled({4, 1}), {});
              }),
              HasSubstr("expected float32 of 3 parts and 4 sequences"));
  EXPECT_THAT(error_of([] {
                take_from_edges(Edge::kEnd, three_parts(), filled({3, 1}), filled({3, 1}), {});
              }),
              HasSubstr("part 2 has first sequence 3, last 3 and 9 tokens before, with 3 sequences"));
}

// Documents of these lengths in a row, cut over ranks: what each rank gets of the rows before its part, and where
// gradients go, for parts shorter than the taps, too.
struct HaloCase {
  std::vector<std::int64_t> documents;
  int ranks;
  std::int64_t taps;
};

void expect_halo(const HaloCase& c, DType dtype) {
  std::vector<std::int64_t> first_of;  // of each token: the first of its document
  for (const std::int64_t length : c.documents) {
    first_of.insert(first_of.end(), static_cast<std::size_t>(length), static_cast<std::int64_t>(first_of.size()));
  }
  const auto tokens = static_cast<std::int64_t>(first_of.size()), length = tokens / c.ranks, before = c.taps - 1;
  constexpr std::int64_t kParts = 2, kChannels = 3, kAll = 5, kFirst = 1;
  // Row 1 has other values than row 0. x [ranks][parts x length, channels].
  const auto x_of = [&](std::int64_t part, std::int64_t token, std::int64_t channel) {
    return static_cast<float>(100 * part + 4 * token + channel);
  };
  const Tensor all_tails = filled({c.ranks, kParts, std::min(before, length), kAll}, dtype);
  const Tensor all_heads = filled({c.ranks, kParts, before, kAll});
  struct Rank {
    std::vector<std::int32_t> ends{0}, edges;
    Tensor edges_tensor;
  };
  std::vector<Rank> ranks(static_cast<std::size_t>(c.ranks));
  for (int r = 0; r < c.ranks; ++r) {
    Rank& rank = ranks[static_cast<std::size_t>(r)];
    const Tensor x = Tensor::empty({kParts * length, kChannels});
    for (std::int64_t part = 0; part < kParts; ++part) {
      const std::int64_t begin = r * length;
      const auto first_sequence = static_cast<std::int32_t>(rank.ends.size()) - 1;
      for (std::int64_t t = 0; t < length; ++t) {
        for (std::int64_t k = 0; k < kChannels; ++k) {
          x.data<float>()[(part * length + t) * kChannels + k] = x_of(part, begin + t, k);
        }
        const bool is_last = t + 1 == length || first_of[begin + t + 1] == begin + t + 1;
        if (is_last) rank.ends.push_back(static_cast<std::int32_t>(part * length + t + 1));
      }
      const auto last_sequence = static_cast<std::int32_t>(rank.ends.size()) - 2;
      rank.edges.insert(rank.edges.end(), {first_sequence, last_sequence,
                                           static_cast<std::int32_t>(begin - std::min(begin, first_of[begin]))});
    }
    rank.edges_tensor = Tensor::from(rank.edges, {kParts, 3});
    take_tails(x.to(dtype), kFirst, all_tails.slice(r, r + 1).view({kParts, all_tails.size(2), kAll}), {});
  }
  for (int r = 0; r < c.ranks; ++r) {
    const Rank& rank = ranks[static_cast<std::size_t>(r)];
    const auto sequences = static_cast<std::int64_t>(rank.ends.size()) - 1;
    const Tensor initial = filled({sequences, before, kChannels});
    const PartPlace place{.rank = r, .length = length};
    initial_state_from_tails(all_tails, kFirst, rank.edges_tensor, place, initial, {});
    std::vector<float> expected(static_cast<std::size_t>(initial.numel()), 0);
    const Tensor dinitial = Tensor::zeros(initial.shape());
    for (std::int64_t part = 0; part < kParts; ++part) {
      const std::int64_t sequence = rank.edges[static_cast<std::size_t>(part * 3)], begin = r * length;
      for (std::int64_t back = 1; back <= std::min(before, begin - first_of[begin]); ++back) {
        for (std::int64_t k = 0; k < kChannels; ++k) {
          const std::int64_t i = (sequence * before + before - back) * kChannels + k;
          expected[static_cast<std::size_t>(i)] = static_cast<float>(x_of(part, begin - back, k));
          dinitial.data<float>()[i] = static_cast<float>(1 << r);
        }
      }
    }
    EXPECT_TRUE(
        close(initial, std::vector<double>(expected.begin(), expected.end()), dtype == DType::kFloat32 ? 0 : 4e-3))
        << "rank " << r;
    // What is of other documents does not count.
    for (float& value : dinitial.span<float>()) value = value == 0 ? 77.0f : value;
    take_head_gradients(dinitial, kFirst, rank.edges_tensor, all_heads.slice(r, r + 1).view({kParts, before, kAll}),
                        {});
  }
  for (int r = 0; r < c.ranks; ++r) {
    const Tensor dx = Tensor::zeros({kParts * length, kChannels}, dtype);
    add_head_gradients(all_heads, kFirst, {.rank = r, .length = length}, dx, {});
    for (std::int64_t i = 0; i < kParts * length; ++i) {
      const std::int64_t token = r * length + i % length;
      float expected = 0;  // of each later rank that sees the token, its own power of 2
      for (int later = r + 1; later < c.ranks; ++later) {
        const std::int64_t begin = later * length;
        if (begin - token <= before && first_of[begin] <= token) expected += static_cast<float>(1 << later);
      }
      EXPECT_EQ(static_cast<float>(dx.to(DType::kFloat32).data<float>()[i * kChannels]), expected)
          << "rank " << r << ", token " << token;
    }
  }
}

TEST(ShortConvHalo, GoesAsFarBackAsTheDocument) {
  for (const DType dtype : kFloatTypes) {
    for (const HaloCase& c : {HaloCase{{12}, 3, 4},
                              {{12}, 6, 4},
                              {{12}, 12, 4},
                              {{12}, 12, 2},
                              {{1, 1, 1, 1, 1, 1, 1, 1}, 4, 4},
                              {{5, 1, 6}, 4, 4},
                              {{2, 9, 1}, 6, 6},
                              {{3, 3, 6}, 2, 4},
                              {{8}, 1, 4}}) {
      SCOPED_TRACE(std::to_string(c.documents.size()) + " documents on " + std::to_string(c.ranks) + " ranks, taps " +
                   std::to_string(c.taps));
      expect_halo(c, dtype);
    }
  }
}

}  // namespace
}  // namespace mudelta::testing
