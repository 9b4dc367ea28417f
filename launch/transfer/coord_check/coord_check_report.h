#pragma once

#include <span>
#include <string>
#include <vector>

#include "launch/transfer/coord_check/coord_check.h"
#include "launch/transfer/plot.h"

namespace mudelta {

struct CoordColumn {
  ParametrizationConfig::Kind parametrization;
  std::vector<CoordVerdict> verdicts;
};
bool passed(const CoordColumn& column);

// Slopes with their uncertainties and verdicts: a row per quantity, a column per parametrization, and a last row with
// how many fail.
std::string coord_table(std::span<const CoordColumn> columns);

// One line of coord-check.jsonl, with its line end. A number that is not finite becomes null.
std::string coord_json_line(const CoordRecord& record, const std::string& optimizer);

// A panel per quantity with its slope and verdict, those that fail first; of values, only those. A line per step with
// the standard deviation over seeds. Of the records of one axis and parametrization, and what they were judged.
Plot coord_plot(std::span<const CoordRecord> records, std::span<const CoordVerdict> verdicts, const std::string& title);

std::string name_of(GrowthAxis axis);       // "head_dim", "heads", "depth"
std::string_view size_of(GrowthAxis axis);  // what a CoordRecord has the size in: "width", "layers"

}  // namespace mudelta
