#include "launch/train/training_rows.h"

#include <fmt/format.h>

#include <algorithm>

namespace mudelta {
namespace {

void set_next_row(std::int64_t row, std::int64_t global_batch, TrainingState& state) {
  const std::int64_t offset = row - state.step() * global_batch;
  if (offset != state.row_offset()) state.set_row_offset(offset);
}

}  // namespace

RowRange next_rows(std::int64_t global_batch, TrainingState& state) {
  std::int64_t begin = state.step() * global_batch + state.row_offset();
  for (const RowRange& rows : state.rows_left_out()) {
    if (begin < rows.end() && rows.begin() < begin + global_batch) begin = rows.end();
  }
  set_next_row(begin, global_batch, state);
  RowRange rows;
  rows.set_begin(begin);
  rows.set_end(begin + global_batch);
  return rows;
}

std::string to_string(const RowRange& rows) { return fmt::format("rows {} to {}", rows.begin(), rows.end() - 1); }

void leave_out(const RowRange& bad, const TrainingState& before, TrainingState& now) {
  auto& rows = *now.mutable_rows_left_out();
  rows = before.rows_left_out();
  *rows.Add() = bad;
  std::ranges::sort(rows, {}, [](const RowRange& range) { return range.begin(); });
  now.set_rollbacks(before.rollbacks() + 1);
}

void keep_place(const TrainConfig& before, const TrainConfig& now, TrainingState& state) {
  std::int64_t row = state.step() * before.global_batch() + state.row_offset();
  if (before.sequence_length() != now.sequence_length()) {
    row = (row * before.sequence_length() + now.sequence_length() - 1) / now.sequence_length();
    state.clear_rows_left_out();
  }
  set_next_row(row, now.global_batch(), state);
}

}  // namespace mudelta
