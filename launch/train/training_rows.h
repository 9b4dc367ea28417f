#pragma once

#include <cstdint>
#include <string>

#include "launch/checkpoint/manifest.pb.h"
#include "launch/config/config.pb.h"

// Where a run is in the order of its training data. It follows from the TrainingState alone.

namespace mudelta {

// Rows that the next step reads, after those that are left out. Sets state.row_offset accordingly.
RowRange next_rows(std::int64_t global_batch, TrainingState& state);

// "rows 32 to 47"
std::string to_string(const RowRange& rows);

// `now`, the state of a run that has just gone back from `before`, leaves `bad` out too. All that it left out before,
// it still does.
void leave_out(const RowRange& bad, const TrainingState& before, TrainingState& now);

// The same place in the data for steps of another size: no row is read twice by an order that stays. Rows of another
// length are another order, which goes on after as many tokens.
void keep_place(const TrainConfig& before, const TrainConfig& now, TrainingState& state);

}  // namespace mudelta
