#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "core/allocator.h"
#include "core/device.h"

namespace mudelta {

// Work on a GPU that is done many times, recorded once: from then on the host queues it by one call. For work of many
// short kernels, which a device may finish faster than a host can launch them.
class Graph {
 public:
  // Of work that is queued on `stream` (and on streams that wait for it, for which it then waits). Throws Error unless
  // that is a stream of a GPU.
  explicit Graph(Stream stream);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Queues the work of `work`. The first call runs it as it is, so that whatever is made when it is first needed exists
  // (memory, plans of products); the second one records it; later ones repeat the recording and do not call `work`.
  // So it must queue the same kernels each time, with the same values and on the same addresses (what is stored there
  // may change), and keep to what gpu::begin_capture allows. What it allocates on the GPU stays the graph's own memory
  // and means nothing outside of `work`. After an Error the graph is as it was.
  // Where work comes in a few shapes, `variant` tells them apart: each has its own first call and its own recording, in
  // memory that all share.
  void run(const std::function<void()>& work, std::int64_t variant = 0);

 private:
  gpu::GraphHandle record(const std::function<void()>& work);

  Stream stream_;
  MemoryPool pool_;
  std::map<std::int64_t, gpu::GraphHandle> recordings_;  // of the variants that have run; null until recorded
};

}  // namespace mudelta
