#pragma once

#include "dist/process_group.h"

namespace mudelta {

// How the ranks are arranged: world = data x context x tensor, the tensor group's ranks being neighbours.
class Mesh {
 public:
  // Throws Error, naming every factor, unless data x context x tensor can be the world's size; sizes of `context` and
  // `tensor` above 1 are refused: "not yet".
  Mesh(ProcessGroup world, int context, int tensor);

  const ProcessGroup& world() const { return world_; }
  const ProcessGroup& data() const { return data_; }
  const ProcessGroup& context() const { return context_; }
  const ProcessGroup& tensor() const { return tensor_; }
  std::string to_string() const;  // "4 ranks = 4 data x 1 context x 1 tensor"

 private:
  ProcessGroup world_, data_, context_, tensor_;
};

}  // namespace mudelta
