#include "launch/train/training_data.h"

#include <gmock/gmock.h>

#include <map>
#include <numeric>

#include "launch/checkpoint/checkpoint_model.h"
#include "tests/data/support.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using testing::error_of;
using ::testing::HasSubstr;

constexpr std::int64_t kLength = 4, kBatch = 12;

class TrainingDataTest : public ::testing::Test {
 protected:
  // A data set of so many rows; all tokens of row r are first + r.
  DataSource source(const std::string& name, std::int64_t rows, std::int32_t first, double weight = 1,
                    std::int64_t epochs = 0) const {
    const auto folder = folder_ / name;
    if (!std::filesystem::exists(folder)) {
      std::vector<std::int32_t> tokens;
      for (std::int64_t t = 0; t <= rows * kLength; ++t)
        tokens.push_back(first + static_cast<std::int32_t>(t / kLength));
      testing::write_dataset(folder, tokens, 1'000'000, 60'000, std::vector<std::int32_t>(20, 1));
    }
    DataSource source;
    source.set_path(folder.string());
    source.set_name(name);
    source.set_weight(weight);
    source.set_epochs(epochs);
    return source;
  }

  static RunConfig config(const std::vector<DataSource>& sources) {
    RunConfig config;
    config.mutable_data()->mutable_sources()->Assign(sources.begin(), sources.end());
    config.mutable_train()->set_sequence_length(kLength);
    config.mutable_train()->set_global_batch(kBatch);
    config.mutable_train()->set_steps(20);
    return config;
  }

  static RunConfig config_of_path(const DataSource& source) {
    RunConfig of_path = config({});
    of_path.mutable_data()->set_path(source.path());
    return of_path;
  }

  static TrainingData open(const RunConfig& config) { return {config, ProcessGroup::single()}; }

  // The first tokens of rows.
  static std::vector<std::int32_t> rows(TrainingData& data, std::int64_t first, std::int64_t count) {
    const Batch batch = data.rows(first, count);
    const auto tokens = batch.tokens.span<std::int32_t>();
    std::vector<std::int32_t> all;
    for (std::int64_t i = 0; i < count; ++i) all.push_back(tokens[static_cast<std::size_t>(i * kLength)]);
    return all;
  }

  // As a trainer does from step `first` on.
  static std::vector<std::int32_t> steps(TrainingData& data, std::int64_t first, std::int64_t count) {
    std::vector<std::int32_t> all;
    for (std::int64_t step = first; step < first + count; ++step) {
      for (const std::int32_t row : rows(data, step * kBatch, kBatch)) all.push_back(row);
      data.advance_to((step + 1) * kBatch);
    }
    return all;
  }

  static CheckpointManifest checkpoint(const TrainingData& data) {
    CheckpointManifest manifest;
    manifest.mutable_config()->mutable_train()->set_sequence_length(kLength);
    data.describe(*manifest.mutable_state());
    if (!data.is_blend()) *manifest.mutable_data_set() = describe_data_set(data.info());
    return manifest;
  }

  static void append(std::vector<std::int32_t>& all, const std::vector<std::int32_t>& more) {
    all.insert(all.end(), more.begin(), more.end());
  }

  // How often each row [first, first + rows) comes in `seen`.
  static std::vector<int> counts(const std::vector<std::int32_t>& seen, std::int32_t first, std::int64_t rows) {
    std::vector<int> counts(static_cast<std::size_t>(rows));
    for (const std::int32_t row : seen) {
      if (first <= row && row < first + rows) ++counts[static_cast<std::size_t>(row - first)];
    }
    return counts;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TrainingDataTest, APathIsReadAsEver) {
  const DataSource only = source("a", 50, 1000);
  TrainingData data = open(config_of_path(only));
  const Dataset dataset(only.path(), Split::kTrain);
  const Loader loader(dataset, {.sequence_length = kLength});
  for (const std::int64_t first : {0, 7, 45, 48, 1000}) {
    const Batch expected = loader.batch(first, 9), batch = data.rows(first, 9);
    EXPECT_TRUE(std::ranges::equal(batch.tokens.span<std::int32_t>(), expected.tokens.span<std::int32_t>())) << first;
    EXPECT_TRUE(std::ranges::equal(batch.targets.span<std::int32_t>(), expected.targets.span<std::int32_t>()));
    EXPECT_TRUE(std::ranges::equal(batch.cu_seqlens.span<std::int32_t>(), expected.cu_seqlens.span<std::int32_t>()));
  }
  EXPECT_TRUE(data.progress().empty());
  TrainingState state;
  data.describe(state);
  EXPECT_EQ(state.sources_size(), 0);
}

TEST_F(TrainingDataTest, ABlendDoesNotDependOnWhoReadsWhat) {
  const RunConfig blend = config({source("a", 50, 1000, 0.7), source("b", 31, 2000, 0.3)});
  TrainingData whole = open(blend);
  const auto expected = steps(whole, 0, 10);
  for (const std::int64_t ranks : {2, 3, 4}) {
    std::vector<std::vector<std::int32_t>> shares;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      TrainingData data = open(blend);
      const std::int64_t share = kBatch / ranks;
      for (std::int64_t step = 0; step < 10; ++step) {
        const std::int64_t first = step * kBatch + rank * share;
        auto rows = this->rows(data, first, share - 1);  // in two micro-batches, the first of them twice
        EXPECT_EQ(rows, this->rows(data, first, share - 1));
        append(rows, this->rows(data, first + share - 1, 1));
        for (std::int64_t i = 0; i < share; ++i) {
          EXPECT_EQ(rows[static_cast<std::size_t>(i)], expected[static_cast<std::size_t>(first + i)]);
        }
        data.advance_to((step + 1) * kBatch);
      }
    }
  }
}

TEST_F(TrainingDataTest, SharesAndEpochs) {
  TrainingData data = open(config({source("a", 50, 1000, 3), source("b", 31, 2000, 1)}));
  const auto seen = steps(data, 0, 20);
  const auto progress = data.progress();
  ASSERT_EQ(progress.size(), 2u);
  EXPECT_EQ(progress[0].name, "a");
  EXPECT_NEAR(progress[0].share, 0.75, 0.02);
  EXPECT_NEAR(progress[0].epochs, 180.0 / 50, 0.1);
  EXPECT_EQ(progress[0].rows + progress[1].rows, 240);
  const auto a = counts(seen, 1000, 50);
  EXPECT_EQ(std::accumulate(a.begin(), a.end(), 0), progress[0].rows);
  EXPECT_THAT(a, Each(::testing::AnyOf(3, 4)));
}

TEST_F(TrainingDataTest, NothingIsLostOrRepeatedAcrossResumes) {
  const auto a = [&](double weight) { return source("a", 50, 1000, weight); };
  const auto b = [&](double weight) { return source("b", 31, 2000, weight); };
  const auto c = [&](double weight) { return source("c", 40, 3000, weight); };
  std::vector<std::int32_t> seen;
  CheckpointManifest manifest;
  std::int64_t step = 0;
  for (const auto& sources : std::vector<std::vector<DataSource>>{
           {a(1), b(1)}, {b(2), a(0.1)}, {a(1), c(1), b(1)}, {c(5)}, {c(1), b(1)}, {b(1), a(2), c(1)}}) {
    TrainingData data = open(config(sources));
    if (step > 0) data.resume("there", manifest, step * kBatch);
    append(seen, steps(data, step, 3));
    manifest = checkpoint(data);
    step += 3;
  }
  for (const auto& [first, rows] : {std::pair(1000, 50), {2000, 31}, {3000, 40}}) {
    const auto of_source = counts(seen, first, rows);
    const auto [least, most] = std::ranges::minmax(of_source);
    EXPECT_LE(most - least, 1) << first;
    EXPECT_GE(most, 1) << first;
  }
}

TEST_F(TrainingDataTest, AResumeGoesOnAsTheRunWould) {
  const RunConfig blend = config({source("a", 50, 1000, 2), source("b", 31, 2000, 1)});
  TrainingData whole = open(blend), first = open(blend), second = open(blend);
  auto expected = steps(whole, 0, 8), seen = steps(first, 0, 5);
  second.resume("there", checkpoint(first), 5 * kBatch);
  append(seen, steps(second, 5, 3));
  EXPECT_EQ(seen, expected);
}

TEST_F(TrainingDataTest, RowsOfAnotherLengthGoOnAfterAsManyTokens) {
  RunConfig blend = config({source("a", 50, 1000, 2), source("b", 31, 2000, 1)});
  TrainingData before = open(blend);
  steps(before, 0, 5);
  blend.mutable_train()->set_sequence_length(2 * kLength);
  TrainingData after = open(blend);
  after.resume("there", checkpoint(before), (5 * kBatch + 1) / 2);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(after.progress()[i].rows, (before.progress()[i].rows + 1) / 2);
}

TEST_F(TrainingDataTest, ASourceGoesOnWhereThePathWas) {
  const DataSource old = source("a", 500, 1000);
  TrainingData whole = open(config_of_path(old)), before = open(config_of_path(old));
  const auto expected = steps(whole, 0, 10);
  std::vector<std::int32_t> seen = steps(before, 0, 4);

  DataSource renamed = old;
  renamed.set_name("renamed");
  TrainingData after = open(config({source("new", 31, 2000), renamed}));
  after.resume("there", checkpoint(before), 4 * kBatch);
  append(seen, steps(after, 4, 6));
  std::erase_if(seen, [](std::int32_t row) { return row >= 2000; });
  EXPECT_NEAR(static_cast<double>(seen.size()), 4 * kBatch + 3 * kBatch, 4);
  EXPECT_TRUE(std::equal(seen.begin(), seen.end(), expected.begin()));

  TrainingData without = open(config({source("new", 31, 2000)}));  // the old one is remembered, and comes back
  without.resume("there", checkpoint(before), 4 * kBatch);
  steps(without, 4, 1);
  TrainingData back = open(config({renamed}));
  back.resume("there", checkpoint(without), 5 * kBatch);
  const auto next = steps(back, 5, 1);
  EXPECT_TRUE(std::equal(next.begin(), next.end(), expected.begin() + 4 * kBatch));
}

TEST_F(TrainingDataTest, WhatDoesNotFitIsRefused) {
  TrainingData before = open(config({source("a", 50, 1000), source("b", 31, 2000)}));
  steps(before, 0, 1);
  DataSource other = source("c", 40, 3000);
  other.set_name("a");
  EXPECT_THAT(error_of([&] { open(config({other})).resume("there", checkpoint(before), kBatch); }),
              AllOf(HasSubstr("there: the source a had 201 tokens"), HasSubstr("it has 161 tokens"),
                    HasSubstr("another name")));
  EXPECT_THAT(
      error_of([&] { open(config_of_path(source("a", 50, 1000))).resume("there", checkpoint(before), kBatch); }),
      HasSubstr("the run learnt from data.sources"));
  EXPECT_THAT(error_of([&] {
                open(config({source("a", 50, 1000, 1, 2), source("b", 31, 2000, 1, 3)}));
              }),
              HasSubstr("data.sources end after 193 more rows, expected 240"));
}

}  // namespace
}  // namespace mudelta
