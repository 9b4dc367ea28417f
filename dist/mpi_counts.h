#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "core/error.h"

// MPI counts elements in `int`. Operations that work element by element go in pieces; the others refuse.
namespace mudelta {

constexpr std::int64_t kMaxMpiCount = std::numeric_limits<int>::max();

// Calls f(begin, count) for consecutive pieces of [0, numel), none longer than `max_count`.
template <class F>
void for_each_piece(std::int64_t numel, std::int64_t max_count, F&& f) {
  for (std::int64_t begin = 0; begin < numel; begin += max_count) {
    f(begin, static_cast<int>(std::min(max_count, numel - begin)));
  }
}

// `numel` elements over all ranks of a group as an MPI count; throws Error if there are too many.
inline int mpi_count(std::int64_t numel, std::string_view op) {
  require(numel <= kMaxMpiCount, "[{}] {} elements over all ranks, MPI takes at most {} in one call", op, numel,
          kMaxMpiCount);
  return static_cast<int>(numel);
}

}  // namespace mudelta
