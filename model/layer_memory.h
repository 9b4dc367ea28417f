#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "core/device.h"
#include "core/live_tensors.h"
#include "model/config.pb.h"

namespace mudelta {

// A pass over one rank's tokens of a micro-batch, for what it takes of memory.
struct PassShape {
  std::int64_t tokens;
  std::int64_t sequences;
  DType compute_dtype = DType::kFloat32;
  ModelConfig::Recompute recompute = ModelConfig::NONE;
  Device device;
  int tensor_ranks = 1;   // that share heads, columns and vocabulary
  int context_ranks = 1;  // that share rows; then `sequences` are as many parts of rows

  // Tensors [tokens, c] for each c of `columns`.
  LiveTensors rows(std::initializer_list<std::int64_t> columns, DType dtype) const {
    LiveTensors live;
    for (const std::int64_t c : columns) live.add({tokens, c}, dtype);
    return live;
  }
  // What cast() makes of float32 rows.
  LiveTensors cast_rows(std::int64_t columns) const {
    return compute_dtype == DType::kFloat32 ? LiveTensors() : rows({columns}, compute_dtype);
  }
};

// What a layer has in memory, its parameters and their gradients left out. Sums over tokens that ops make block by
// block, a hundredth of the rest, are left out, too.
struct LayerMemory {
  LiveTensors kept;                   // by the forward pass for the backward pass
  std::vector<LiveTensors> forward;   // at the fullest moments of a forward pass that keeps nothing, its input included
  std::vector<LiveTensors> backward;  // at those of the backward pass, what there still is of `kept` included
};

}  // namespace mudelta
