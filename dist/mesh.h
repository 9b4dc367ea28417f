#pragma once

#include <string>

#include "dist/config.pb.h"
#include "dist/process_group.h"

namespace mudelta {

struct MeshSizes {
  int data = 1, context = 1, tensor = 1;
  std::string to_string() const;  // "4 ranks = 4 data x 1 context x 1 tensor"
};

// How `num_ranks` ranks are arranged. Throws Error, naming every factor, unless parallel.context x parallel.tensor
// divides them.
MeshSizes mesh_sizes(int num_ranks, const ParallelConfig& config);

// Whether the residual stream is cut over the tensor group: as the configuration says, or else where there is one.
bool sequence_parallel(const ParallelConfig& config);

// The ZeRO stage of `num_ranks` ranks that hold the same parameters: as the configuration says, but 1 for one rank,
// which has nobody to share with.
int zero_stage(const ParallelConfig& config, int num_ranks);

// The groups that a rank belongs to: world = data x context x tensor, the tensor group's ranks being neighbours.
// Along `data` ranks have other rows of a batch, along `context` other tokens of the same rows, along `tensor` other
// parts of the parameters.
class Mesh {
 public:
  // Collective over `world`. Throws Error, alike on every rank, as mesh_sizes.
  explicit Mesh(ProcessGroup world = ProcessGroup::single(), const ParallelConfig& config = {});

  const ProcessGroup& world() const { return world_; }
  const ProcessGroup& data() const { return data_; }
  const ProcessGroup& context() const { return context_; }
  const ProcessGroup& tensor() const { return tensor_; }
  // data x context: the ranks that hold the same parameters and saw other tokens. Sums over all tokens, of losses and
  // gradients, are sums over it; optimizer state is cut over it.
  const ProcessGroup& gradients() const { return gradients_; }
  // context x tensor: the ranks that make a pass together, over the same rows.
  const ProcessGroup& replica() const { return replica_; }
  MeshSizes sizes() const { return {data_.size(), context_.size(), tensor_.size()}; }

 private:
  ProcessGroup world_, data_, context_, tensor_, gradients_, replica_;
};

// Throws Error, naming the field, its value and what was expected, on values that no job can have. Left to mesh_sizes:
// `context` and `tensor`.
void validate(const ParallelConfig& config);

}  // namespace mudelta
