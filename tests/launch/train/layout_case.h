#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "data/loader.h"
#include "launch/config/config.pb.h"

namespace mudelta::testing {

// A run and its layout, drawn at random: the same on every rank for the same seed and number of ranks.
struct LayoutCase {
  RunConfig config;
  std::string to_string() const;
};
LayoutCase draw_layout(std::uint64_t seed, int num_ranks);

// Rows [first, first + count) of the run's text, or context rank `part`'s part of them: tokens, targets and where
// documents start all follow from the seed and the row's number.
Batch text_rows(const RunConfig& config, std::uint64_t seed, std::int64_t first, std::int64_t count, int part = 0);

}  // namespace mudelta::testing
