#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "core/graph.h"
#include "data/loader.h"

namespace mudelta {

// A pass over batches on a GPU, recorded as a CUDA graph and repeated by one call (core/graph.h). Each number of
// sequences, at which a batch's shape changes, has a recording of its own; all of them share their memory.
class RecordedPass {
 public:
  // `pass` does the same work, but for the batch's content, whenever it is called with a shape.
  RecordedPass(Stream stream, std::function<void(const Batch&)> pass);

  // Queues the pass over `batch`, which is copied to where its recording reads.
  void operator()(const Batch& batch);

 private:
  Graph graph_;
  std::function<void(const Batch&)> pass_;
  std::map<std::int64_t, Batch> inputs_;  // by the number of sequences
};

}  // namespace mudelta
