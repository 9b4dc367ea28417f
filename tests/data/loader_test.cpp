#include "data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "core/rng.h"
#include "data/permutation.h"
#include "tests/data/support.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::kSeparator;

std::vector<std::int32_t> ints(const Tensor& tensor) {
  const auto values = tensor.span<std::int32_t>();
  return {values.begin(), values.end()};
}

// Random bytes with a separator about every eighth token, two in a row among them.
std::vector<std::int32_t> random_tokens(std::int64_t count) {
  const CounterRng rng(7, "loader_test");
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::uint64_t bits = rng.bits(i);
    tokens[i] = bits % 8 == 0 ? kSeparator : static_cast<std::int32_t>(bits >> 8 & 0xff);
  }
  return tokens;
}

class LoaderTest : public ::testing::Test {
 protected:
  // Tokens 0, 1, 2, ... tell where a row comes from.
  Dataset counting_dataset(std::int64_t count) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
    std::iota(tokens.begin(), tokens.end(), 1000);
    return dataset_of(tokens);
  }
  Dataset dataset_of(const std::vector<std::int32_t>& tokens) {
    testing::write_dataset(folder_.path(), tokens, 37, 65536);
    return Dataset(folder_.path(), Split::kTrain);
  }

  testing::TemporaryFolder folder_;
};

TEST_F(LoaderTest, RowsInFileOrder) {
  const Dataset dataset = counting_dataset(18);
  const Loader loader(dataset, {.sequence_length = 5, .shuffle = false});
  ASSERT_EQ(loader.rows_per_epoch(), 3);
  const Batch batch = loader.batch(1, 2);
  EXPECT_EQ(ints(batch.tokens), (std::vector{1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}));
  EXPECT_EQ(ints(batch.targets), (std::vector{1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015}));
  EXPECT_EQ(ints(batch.cu_seqlens), (std::vector{0, 5, 10}));
  EXPECT_EQ(ints(loader.batch(3, 1).tokens), ints(loader.batch(0, 1).tokens));  // the next epoch
}

TEST_F(LoaderTest, TargetsAreTheNextTokens) {
  const auto tokens = random_tokens(400);
  const Dataset dataset = dataset_of(tokens);
  const Loader loader(dataset, {.sequence_length = 13});
  const Batch batch = loader.batch(0, loader.rows_per_epoch());
  const auto inputs = ints(batch.tokens), targets = ints(batch.targets);
  for (std::int64_t row = 0; row < loader.rows_per_epoch(); ++row) {
    const auto first = inputs.begin() + row * 13;
    std::vector<std::int32_t> with_target(first, first + 13);
    with_target.push_back(targets[row * 13 + 12]);
    EXPECT_TRUE(std::equal(first + 1, first + 13, targets.begin() + row * 13));
    const auto found = std::ranges::search(tokens, with_target).begin();
    ASSERT_NE(found, tokens.end()) << "row " << row;
    EXPECT_EQ((found - tokens.begin()) % 13, 0);
  }
}

TEST_F(LoaderTest, EachRowOnceAnEpoch) {
  const Dataset dataset = counting_dataset(1 + 7 * 101);
  const Loader loader(dataset, {.sequence_length = 7, .seed = 3});
  ASSERT_EQ(loader.rows_per_epoch(), 101);
  std::vector<std::vector<std::int32_t>> epochs;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    const auto tokens = ints(loader.batch(epoch * 101, 101).tokens);
    std::vector<std::int32_t> rows;
    for (std::size_t i = 0; i < tokens.size(); i += 7) rows.push_back((tokens[i] - 1000) / 7);
    EXPECT_EQ(std::set(rows.begin(), rows.end()).size(), 101u);
    epochs.push_back(rows);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST_F(LoaderTest, OrderIsThatOfTheSeed) {
  const Dataset dataset = counting_dataset(301);
  const auto order = [&](std::uint64_t seed) {
    return ints(Loader(dataset, {.sequence_length = 3, .seed = seed}).batch(0, 100).tokens);
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
}

// Whatever the number of ranks and micro-batches, the rows of a step are the same, across the border of epochs too.
TEST_F(LoaderTest, OrderDoesNotDependOnTheSplit) {
  const Dataset dataset = dataset_of(random_tokens(230));
  const Loader loader(dataset, {.sequence_length = 9});
  const Batch whole = loader.batch(5, 60);
  for (const std::int64_t part : {1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30}) {
    std::vector<std::int32_t> tokens, targets, cu_seqlens{0};
    for (std::int64_t first = 5; first < 65; first += part) {
      const Batch batch = loader.batch(first, part);
      std::ranges::copy(ints(batch.tokens), std::back_inserter(tokens));
      std::ranges::copy(ints(batch.targets), std::back_inserter(targets));
      const std::int32_t base = cu_seqlens.back();
      for (const std::int32_t end : ints(batch.cu_seqlens)) {
        if (end > 0) cu_seqlens.push_back(base + end);
      }
    }
    EXPECT_EQ(tokens, ints(whole.tokens)) << part;
    EXPECT_EQ(targets, ints(whole.targets)) << part;
    EXPECT_EQ(cu_seqlens, ints(whole.cu_seqlens)) << part;
  }
}

TEST_F(LoaderTest, SequencesStartAtRowsAndSeparators) {
  const Dataset dataset =
      dataset_of({kSeparator, 1, 2, kSeparator, kSeparator, 5, 6, 7, 8, kSeparator, 10, kSeparator});
  const LoaderOptions options{.sequence_length = 5, .shuffle = false};
  EXPECT_EQ(ints(Loader(dataset, options).batch(0, 2).cu_seqlens), (std::vector{0, 3, 4, 5, 9, 10}));
}

TEST_F(LoaderTest, SequencesMatchADirectReading) {
  const Dataset dataset = dataset_of(random_tokens(500));
  for (const bool reset : {true, false}) {
    const Loader loader(dataset, {.sequence_length = 11, .reset_at_documents = reset});
    const Batch batch = loader.batch(3, 50);
    const auto tokens = ints(batch.tokens);
    std::vector<std::int32_t> expected;
    for (std::int32_t i = 0; i < 50 * 11; ++i) {
      if (i % 11 == 0 || (reset && tokens[i] == kSeparator)) expected.push_back(i);
    }
    expected.push_back(50 * 11);
    EXPECT_EQ(ints(batch.cu_seqlens), expected);
  }
}

TEST_F(LoaderTest, NoRows) {
  const Dataset dataset = counting_dataset(20);
  const Batch batch = Loader(dataset, {.sequence_length = 4}).batch(2, 0);
  EXPECT_EQ(batch.tokens.numel(), 0);
  EXPECT_EQ(ints(batch.cu_seqlens), std::vector{0});
}

TEST_F(LoaderTest, TheShortestSplitHasOneRow) {
  const Dataset dataset = counting_dataset(9);
  const Loader loader(dataset, {.sequence_length = 8});
  EXPECT_EQ(loader.rows_per_epoch(), 1);
  EXPECT_EQ(ints(loader.batch(4, 2).tokens).size(), 16u);
  EXPECT_THAT(error_of([&] { Loader(dataset, {.sequence_length = 9}); }),
              AllOf(HasSubstr("train split of " + folder_.path().string()), HasSubstr("9 tokens"), HasSubstr("10")));
  EXPECT_THAT(error_of([&] { Loader(dataset, {.sequence_length = 0}); }), HasSubstr("sequence_length is 0"));
}

TEST_F(LoaderTest, RefusesImpossibleRows) {
  const Dataset dataset = counting_dataset(20);
  const Loader loader(dataset, {.sequence_length = 4});
  EXPECT_THAT(error_of([&] { loader.batch(-1, 1); }), HasSubstr("-1"));
  EXPECT_THAT(error_of([&] { loader.batch(0, -1); }), HasSubstr("-1"));
  EXPECT_THAT(error_of([&] { loader.batch(0, std::int64_t{1} << 40); }), HasSubstr("1099511627776"));
}

RC_GTEST_PROP(Permutation, IsOneToOne, ()) {
  const auto size = *rc::gen::inRange<std::int64_t>(1, 3000);
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const auto epoch = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
  const Permutation permutation(size, seed, epoch);
  std::vector<bool> seen(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) {
    const std::int64_t image = permutation(i);
    RC_ASSERT(image >= 0 && image < size);
    RC_ASSERT(!seen[static_cast<std::size_t>(image)]);
    seen[static_cast<std::size_t>(image)] = true;
  }
}

TEST(Permutation, StaysInRangeForHugeSizes) {
  for (const std::int64_t size : {(std::int64_t{1} << 32) - 1, std::int64_t{1} << 32, (std::int64_t{1} << 40) + 1}) {
    const Permutation permutation(size, 1, 0);
    std::set<std::int64_t> images;
    for (std::int64_t i = 0; i < 1000; ++i) images.insert(permutation(size - 1 - i));
    EXPECT_EQ(images.size(), 1000u);
    EXPECT_GE(*images.begin(), 0);
    EXPECT_LT(*images.rbegin(), size);
  }
}

// Over many epochs every position holds every element equally often (chi-square, 36 cells, 25 degrees of freedom:
// above 60 once in 10,000 tables).
TEST(Permutation, IsUniform) {
  constexpr int kSize = 6, kEpochs = 6000;
  std::array<std::array<int, kSize>, kSize> counts{};
  std::map<std::vector<std::int64_t>, int> orders;
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const Permutation permutation(kSize, 11, epoch);
    std::vector<std::int64_t> order;
    for (int i = 0; i < kSize; ++i) {
      order.push_back(permutation(i));
      ++counts[i][order.back()];
    }
    ++orders[order];
  }
  const double expected = double{kEpochs} / kSize;
  double chi_square = 0;
  for (const auto& row : counts) {
    for (const int count : row) chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 60);
  EXPECT_GT(orders.size(), 700u);  // of 720
}

// The parts of rows, side by side, are the rows; a document that goes on in a part says how much of it went before.
TEST_F(LoaderTest, PartsAreTheRow) {
  const auto tokens = random_tokens(400);
  const Dataset dataset = dataset_of(tokens);
  for (const bool resets : {true, false}) {
    for (const int parts : {2, 3, 4, 6, 12}) {
      SCOPED_TRACE(parts);
      constexpr std::int64_t kLength = 12, kRows = 30;
      const LoaderOptions options{.sequence_length = kLength, .reset_at_documents = resets};
      const Batch whole = Loader(dataset, options).batch(3, kRows);
      EXPECT_FALSE(whole.edges.defined());
      const auto all_tokens = ints(whole.tokens), all_targets = ints(whole.targets), starts = ints(whole.cu_seqlens);
      for (int part = 0; part < parts; ++part) {
        LoaderOptions of_part = options;
        of_part.part = part, of_part.parts = parts;
        const Batch batch = Loader(dataset, of_part).batch(3, kRows);
        const auto own = ints(batch.tokens), targets = ints(batch.targets), bounds = ints(batch.cu_seqlens);
        const std::int64_t length = kLength / parts;
        ASSERT_EQ(batch.edges.shape(), Shape({kRows, 3}));
        std::vector<std::int32_t> expected_bounds, expected_edges;
        for (std::int32_t row = 0; row < kRows; ++row) {
          const std::int64_t begin = row * kLength + part * length;
          for (std::int64_t t = 0; t < length; ++t) {
            EXPECT_EQ(own[row * length + t], all_tokens[begin + t]);
            EXPECT_EQ(targets[row * length + t], all_targets[begin + t]);
          }
          expected_edges.push_back(static_cast<std::int32_t>(expected_bounds.size()));
          for (std::int64_t t = 0; t < length; ++t) {
            const auto at = static_cast<std::int32_t>(begin + t);
            if (t == 0 || std::ranges::binary_search(starts, at)) {
              expected_bounds.push_back(static_cast<std::int32_t>(row * length + t));
            }
          }
          expected_edges.push_back(static_cast<std::int32_t>(expected_bounds.size()) - 1);
          const std::int32_t document = *(std::ranges::upper_bound(starts, static_cast<std::int32_t>(begin)) - 1);
          expected_edges.push_back(static_cast<std::int32_t>(begin) - document);
        }
        expected_bounds.push_back(static_cast<std::int32_t>(kRows * length));
        EXPECT_EQ(bounds, expected_bounds);
        EXPECT_EQ(ints(batch.edges), expected_edges);
      }
    }
  }
}

TEST_F(LoaderTest, PartsThatDoNotDivideARowAreRefused) {
  const Dataset dataset = counting_dataset(40);
  EXPECT_THAT(error_of([&] { Loader(dataset, {.sequence_length = 10, .part = 1, .parts = 4}); }),
              HasSubstr("sequence_length is 10: part 1 of 4 is wanted"));
}

}  // namespace
}  // namespace mudelta
