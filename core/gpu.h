#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mudelta {
class Tensor;
struct GemmOptions;
}  // namespace mudelta

// The seam between this program and a GPU's runtime. A program links one of three definitions: CUDA's
// (core/cuda/), none (core/no_gpu.cpp: there is no device, and using one throws Error), or the emulator of the tests
// (tests/simt/). A process uses one device. All functions throw Error with the runtime's own text when it fails.
namespace mudelta::gpu {

struct DeviceInfo {
  std::string name;
  std::string architecture;  // "sm_90"
  std::string bus_id;        // tells devices of one host apart, whatever CUDA_VISIBLE_DEVICES hides
  std::int64_t memory_bytes = 0;
  int multiprocessors = 0;
  std::int64_t block_shared_bytes = 0;  // shared memory that a block may ask for
};

// The devices this process may use; empty without a GPU or a driver. Throws Error if there are some that cannot be used
// (a driver that is too old, a fabric that is not up).
std::vector<DeviceInfo> devices();
// Versions of the runtime, driver and libraries, or why there is no device: "built without CUDA".
std::string description();

// Makes `index` this process's device; before any other function below. Throws Error, with the reason, if there is
// none, or none that this program is built for (sm_80 and later).
void use_device(int index);
int current_device();  // 0 before use_device

using StreamHandle = void*;
StreamHandle compute_stream();
StreamHandle create_stream();
void destroy_stream(StreamHandle stream);  // what it has is still done
void synchronize(StreamHandle stream);
void wait_for_stream(StreamHandle waiting, StreamHandle awaited);

// A point in a stream, to be waited for by the host.
using EventHandle = void*;
EventHandle create_event();
void destroy_event(EventHandle event);
void record(EventHandle event, StreamHandle stream);
void synchronize_event(EventHandle event);  // returns at once for an event that was never recorded
// Milliseconds between two recorded events that have been reached.
float elapsed_ms(EventHandle begin, EventHandle end);

// Work recorded by a capture, which can be done again and again.
using GraphHandle = void*;
// From now on, what is queued on `stream`, and on other streams once they wait for it, is recorded and not done. Until
// the end the host does not wait for the device, records no event, allocates and frees none of the device's memory, and
// copies only between its addresses; no captured stream waits for one that is not. One capture at a time, by one
// thread.
void begin_capture(StreamHandle stream);
// `stream` has waited for the others that were captured. The capture is over also if this throws.
GraphHandle end_capture(StreamHandle stream);
// Drops what was recorded, after an error.
void cancel_capture(StreamHandle stream);
// Queues the recorded work, with the addresses and values that it was recorded with.
void launch_graph(GraphHandle graph, StreamHandle stream);
// Its launches have been done.
void destroy_graph(GraphHandle graph);

// Null if there is no room.
void* allocate(std::int64_t num_bytes);
void* allocate_pinned(std::int64_t num_bytes);
void free(void* memory);
void free_pinned(void* memory);

// Between host and device in any direction, in stream order; the host leaves its memory alone until the stream is there.
void copy(void* to, const void* from, std::int64_t num_bytes, StreamHandle stream);
void fill_zero(void* memory, std::int64_t num_bytes, StreamHandle stream);

// A named span of host time, for profilers.
void push_range(const char* name);
void pop_range();

// core/gemm.h on device tensors that fit together; no dimension is 0.
void gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options, StreamHandle stream);

}  // namespace mudelta::gpu
