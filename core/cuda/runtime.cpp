// The definition of core/gpu.h on the CUDA runtime.
#include <nvtx3/nvToolsExt.h>

#include "core/cuda/check.h"
#include "core/error.h"
#include "core/gpu.h"

namespace mudelta::gpu {
namespace {

constexpr int kLeastGeneration = 8;  // bfloat16 products and asynchronous copies

int this_device = 0;
cudaStream_t this_compute_stream = nullptr;

cudaStream_t as_stream(StreamHandle handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t as_event(EventHandle handle) { return static_cast<cudaEvent_t>(handle); }
cudaGraphExec_t as_graph(GraphHandle handle) { return static_cast<cudaGraphExec_t>(handle); }

// cudaSuccess, or why there is no device.
cudaError_t count_devices(int& count) {
  count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) cudaGetLastError();  // a missing driver is not an error of what comes next
  return status;
}

int driver_version() {
  int version = 0;
  MUDELTA_CUDA(cudaDriverGetVersion(&version));
  return version;  // 0: none
}

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// Null, and no error left behind, if there is no room.
template <class Allocate>
void* allocate_or_null(const Allocate& allocate, std::string_view call) {
  void* memory = nullptr;
  const cudaError_t status = allocate(&memory);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_cuda(status, call);
  return memory;
}

}  // namespace

void check_cuda(cudaError_t status, std::string_view call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next launch would report it again
  fail("{} failed: {} ({})", call.substr(0, call.find('(')), cudaGetErrorString(status), cudaGetErrorName(status));
}

std::vector<DeviceInfo> devices() {
  int count = 0;
  const cudaError_t status = count_devices(count);
  const bool has_none = status == cudaErrorNoDevice || (status == cudaErrorInsufficientDriver && driver_version() == 0);
  if (has_none) return {};
  check_cuda(status, "cudaGetDeviceCount");
  std::vector<DeviceInfo> infos;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    MUDELTA_CUDA(cudaGetDeviceProperties(&properties, i));
    infos.push_back({.name = properties.name,
                     .architecture = fmt::format("sm_{}{}", properties.major, properties.minor),
                     .bus_id = fmt::format("{:04x}:{:02x}:{:02x}", properties.pciDomainID, properties.pciBusID,
                                           properties.pciDeviceID),
                     .memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem),
                     .multiprocessors = properties.multiProcessorCount,
                     .block_shared_bytes = static_cast<std::int64_t>(properties.sharedMemPerBlockOptin)});
  }
  return infos;
}

std::string description() {
  int runtime = 0, count = 0;
  MUDELTA_CUDA(cudaRuntimeGetVersion(&runtime));
  const int driver = driver_version();
  const cudaError_t status = count_devices(count);
  return fmt::format("runtime {}, {}, cuBLASLt {}{}", version_text(runtime),
                     driver == 0 ? "no driver" : "driver for " + version_text(driver), cublasLtGetVersion(),
                     status == cudaSuccess ? "" : fmt::format("; no device: {}", cudaGetErrorString(status)));
}

void use_device(int index) {
  int count = 0;
  const cudaError_t status = count_devices(count);
  require(count > 0, "there is no GPU to use: {}",
          status == cudaSuccess ? "the driver lists none" : cudaGetErrorString(status));
  require(0 <= index && index < count, "GPU {} was asked for; there are {}", index, count);
  int generation = 0;
  MUDELTA_CUDA(cudaDeviceGetAttribute(&generation, cudaDevAttrComputeCapabilityMajor, index));
  require(generation >= kLeastGeneration, "GPU {} is an {}: expected sm_{}0 or later", index,
          devices()[static_cast<std::size_t>(index)].architecture, kLeastGeneration);
  MUDELTA_CUDA(cudaSetDevice(index));
  this_device = index;
  if (this_compute_stream == nullptr) {
    MUDELTA_CUDA(cudaStreamCreateWithFlags(&this_compute_stream, cudaStreamNonBlocking));
  }
}

int current_device() { return this_device; }

StreamHandle compute_stream() {
  require(this_compute_stream != nullptr, "no GPU has been chosen");
  return this_compute_stream;
}

// Of the highest priority: communication should not queue behind large products.
StreamHandle create_stream() {
  int lowest = 0, highest = 0;
  MUDELTA_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  cudaStream_t stream = nullptr;
  MUDELTA_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest));
  return stream;
}

void destroy_stream(StreamHandle stream) { cudaStreamDestroy(as_stream(stream)); }

void synchronize(StreamHandle stream) { MUDELTA_CUDA(cudaStreamSynchronize(as_stream(stream))); }

void wait_for_stream(StreamHandle waiting, StreamHandle awaited) {
  cudaEvent_t reached = nullptr;
  MUDELTA_CUDA(cudaEventCreateWithFlags(&reached, cudaEventDisableTiming));
  MUDELTA_CUDA(cudaEventRecord(reached, as_stream(awaited)));
  MUDELTA_CUDA(cudaStreamWaitEvent(as_stream(waiting), reached));
  MUDELTA_CUDA(cudaEventDestroy(reached));  // freed once it has been reached
}

EventHandle create_event() {
  cudaEvent_t event = nullptr;
  MUDELTA_CUDA(cudaEventCreate(&event));
  return event;
}

void destroy_event(EventHandle event) { cudaEventDestroy(as_event(event)); }

void record(EventHandle event, StreamHandle stream) {
  MUDELTA_CUDA(cudaEventRecord(as_event(event), as_stream(stream)));
}

void synchronize_event(EventHandle event) { MUDELTA_CUDA(cudaEventSynchronize(as_event(event))); }

float elapsed_ms(EventHandle begin, EventHandle end) {
  float milliseconds = 0;
  MUDELTA_CUDA(cudaEventElapsedTime(&milliseconds, as_event(begin), as_event(end)));
  return milliseconds;
}

// Other threads (those of NCCL) may go on with calls that a capture forbids to its own.
void begin_capture(StreamHandle stream) {
  MUDELTA_CUDA(cudaStreamBeginCapture(as_stream(stream), cudaStreamCaptureModeThreadLocal));
}

GraphHandle end_capture(StreamHandle stream) {
  cudaGraph_t recorded = nullptr;
  MUDELTA_CUDA(cudaStreamEndCapture(as_stream(stream), &recorded));
  cudaGraphExec_t graph = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&graph, recorded, 0);
  cudaGraphDestroy(recorded);
  check_cuda(status, "cudaGraphInstantiate");
  return graph;
}

void cancel_capture(StreamHandle stream) {
  cudaGraph_t recorded = nullptr;
  cudaStreamEndCapture(as_stream(stream), &recorded);  // fails after what made the capture invalid
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  cudaGetLastError();
}

void launch_graph(GraphHandle graph, StreamHandle stream) {
  MUDELTA_CUDA(cudaGraphLaunch(as_graph(graph), as_stream(stream)));
}

void destroy_graph(GraphHandle graph) { MUDELTA_CUDA(cudaGraphExecDestroy(as_graph(graph))); }

void* allocate(std::int64_t num_bytes) {
  return allocate_or_null([&](void** memory) { return cudaMalloc(memory, static_cast<std::size_t>(num_bytes)); },
                          "cudaMalloc");
}

void* allocate_pinned(std::int64_t num_bytes) {
  return allocate_or_null([&](void** memory) { return cudaMallocHost(memory, static_cast<std::size_t>(num_bytes)); },
                          "cudaMallocHost");
}

void free(void* memory) { MUDELTA_CUDA(cudaFree(memory)); }

void free_pinned(void* memory) { MUDELTA_CUDA(cudaFreeHost(memory)); }

void copy(void* to, const void* from, std::int64_t num_bytes, StreamHandle stream) {
  MUDELTA_CUDA(cudaMemcpyAsync(to, from, static_cast<std::size_t>(num_bytes), cudaMemcpyDefault, as_stream(stream)));
}

void fill_zero(void* memory, std::int64_t num_bytes, StreamHandle stream) {
  MUDELTA_CUDA(cudaMemsetAsync(memory, 0, static_cast<std::size_t>(num_bytes), as_stream(stream)));
}

void push_range(const char* name) { nvtxRangePushA(name); }

void pop_range() { nvtxRangePop(); }

}  // namespace mudelta::gpu
