#pragma once

#include <cstdint>

// How reference.cu shares its work out.
namespace mudelta::kernels::cuda::reference {

constexpr int kLanes = 32;  // of a warp
constexpr int kRowGroups = 4, kWarpColumns = kLanes / kRowGroups, kWarps = 4;
constexpr int kThreads = kWarps * kLanes, kSlab = kWarps * kWarpColumns;
constexpr int kChunk = 32;                // tokens between two saved states
constexpr std::int64_t kMaxBlocks = 264;  // of the backward pass, each with its own scratch memory

}  // namespace mudelta::kernels::cuda::reference
