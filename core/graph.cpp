#include "core/graph.h"

#include <glog/logging.h>

#include "core/error.h"

namespace mudelta {

Graph::Graph(Stream stream) : stream_(stream) {
  require(stream.device().is_cuda(), "[graph] expected a stream of a GPU, got one of {}", stream.device().to_string());
}

Graph::~Graph() {
  try {
    stream_.synchronize();
    for (const auto& [variant, graph] : recordings_) {
      if (graph != nullptr) gpu::destroy_graph(graph);
    }
  } catch (const Error& error) {  // of earlier work on the device
    LOG(ERROR) << error.what();
  }
}

void Graph::run(const std::function<void()>& work, std::int64_t variant) {
  const auto recording = recordings_.find(variant);
  if (recording == recordings_.end()) {
    const MemoryPool::Scope scope(pool_);
    work();
    recordings_.emplace(variant, nullptr);
    return;
  }
  if (recording->second == nullptr) recording->second = record(work);
  gpu::launch_graph(recording->second, stream_.handle());
}

// The memory that the first run used has come back to the pool, and is enough.
gpu::GraphHandle Graph::record(const std::function<void()>& work) {
  const MemoryPool::Scope scope(pool_);
  gpu::begin_capture(stream_.handle());
  try {
    work();
  } catch (...) {
    gpu::cancel_capture(stream_.handle());
    throw;
  }
  return gpu::end_capture(stream_.handle());
}

}  // namespace mudelta
