#include "core/graph.h"

#include <glog/logging.h>

#include "core/error.h"

namespace mudelta {

Graph::Graph(Stream stream) : stream_(stream) {
  require(stream.device().is_cuda(), "[graph] expected a stream of a GPU, got one of {}", stream.device().to_string());
}

Graph::~Graph() {
  if (graph_ == nullptr) return;
  try {
    stream_.synchronize();
    gpu::destroy_graph(graph_);
  } catch (const Error& error) {  // of earlier work on the device
    LOG(ERROR) << error.what();
  }
}

void Graph::run(const std::function<void()>& work) {
  if (!has_run_) {
    const MemoryPool::Scope scope(pool_);
    work();
    has_run_ = true;
    return;
  }
  if (graph_ == nullptr) record(work);
  gpu::launch_graph(graph_, stream_.handle());
}

// The memory that the first run used has come back to the pool, and is enough.
void Graph::record(const std::function<void()>& work) {
  const MemoryPool::Scope scope(pool_);
  gpu::begin_capture(stream_.handle());
  try {
    work();
  } catch (...) {
    gpu::cancel_capture(stream_.handle());
    throw;
  }
  graph_ = gpu::end_capture(stream_.handle());
}

}  // namespace mudelta
