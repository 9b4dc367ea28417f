#include "launch/train/training_rows.h"

#include <gmock/gmock.h>

#include <vector>

namespace mudelta {
namespace {

using ::testing::ElementsAre;

TEST(TrainingRows, RowsOfARollbackAreLeftOutForGood) {
  constexpr std::int64_t kBatch = 10;
  TrainingState bad_state;
  bad_state.set_step(5);
  const RowRange bad = next_rows(kBatch, bad_state);
  EXPECT_EQ(bad.begin(), 50);
  EXPECT_EQ(to_string(bad), "rows 50 to 59");

  TrainingState state;  // as in the checkpoint
  state.set_step(4);
  leave_out(bad, bad_state, state);
  EXPECT_EQ(state.rollbacks(), 1);
  std::vector<std::int64_t> begins;
  const auto run = [&](std::int64_t last_step) {
    for (; state.step() < last_step; state.set_step(state.step() + 1)) {
      begins.push_back(next_rows(kBatch, state).begin());
    }
  };
  run(7);
  EXPECT_THAT(begins, ElementsAre(40, 60, 70));
  // Again, back to the same checkpoint: step 5, which read 60 to 69, is bad now.
  RowRange second;
  second.set_begin(60);
  second.set_end(70);
  const TrainingState before = state;
  state = TrainingState();
  state.set_step(4);
  leave_out(second, before, state);
  EXPECT_EQ(state.rollbacks(), 2);
  begins.clear();
  run(7);
  EXPECT_THAT(begins, ElementsAre(40, 70, 80));
}

TEST(TrainingRows, RowsLeftOutNeedNotBeginWhereAStepDoes) {
  TrainingState state;
  state.set_step(1);
  RowRange& rows = *state.add_rows_left_out();
  rows.set_begin(25);
  rows.set_end(35);
  EXPECT_EQ(next_rows(10, state).begin(), 10);
  state.set_step(2);
  EXPECT_EQ(next_rows(10, state).begin(), 35);
  EXPECT_EQ(next_rows(10, state).begin(), 35) << "asking changes nothing";
  state.set_step(3);
  EXPECT_EQ(next_rows(10, state).begin(), 45);
}

TEST(TrainingRows, StepsOfAnotherSizeGoOnAtTheSamePlace) {
  TrainConfig before, now;
  before.set_global_batch(12);
  before.set_sequence_length(100);
  now.set_global_batch(8);
  now.set_sequence_length(100);
  TrainingState state;
  state.set_step(3);
  keep_place(before, before, state);
  EXPECT_FALSE(state.has_row_offset());
  keep_place(before, now, state);
  EXPECT_EQ(next_rows(8, state).begin(), 36);
  state.set_step(4);
  EXPECT_EQ(next_rows(8, state).begin(), 44);
  before = now;
  now.set_sequence_length(300);
  keep_place(before, now, state);
  EXPECT_EQ(next_rows(8, state).begin(), 15);  // 4,400 tokens, 300 a row
}

}  // namespace
}  // namespace mudelta
