// The definition of core/gpu.h for programs built without CUDA.
#include "core/error.h"
#include "core/gemm_workspace.h"
#include "core/gpu.h"

namespace mudelta::gpu {
namespace {
[[noreturn]] void refuse() { fail("there is no GPU: mudelta was built without CUDA"); }
}  // namespace

std::vector<DeviceInfo> devices() { return {}; }
std::string description() { return "built without CUDA"; }
void use_device(int) { refuse(); }
int current_device() { return 0; }
StreamHandle compute_stream() { refuse(); }
StreamHandle create_stream() { refuse(); }
void destroy_stream(StreamHandle) { refuse(); }
void synchronize(StreamHandle) { refuse(); }
void wait_for_stream(StreamHandle, StreamHandle) { refuse(); }
EventHandle create_event() { refuse(); }
void destroy_event(EventHandle) { refuse(); }
void record(EventHandle, StreamHandle) { refuse(); }
void synchronize_event(EventHandle) { refuse(); }
float elapsed_ms(EventHandle, EventHandle) { refuse(); }
void begin_capture(StreamHandle) { refuse(); }
GraphHandle end_capture(StreamHandle) { refuse(); }
void cancel_capture(StreamHandle) { refuse(); }
void launch_graph(GraphHandle, StreamHandle) { refuse(); }
void destroy_graph(GraphHandle) { refuse(); }
void* allocate(std::int64_t) { refuse(); }
void* allocate_pinned(std::int64_t) { refuse(); }
void free(void*) { refuse(); }
void free_pinned(void*) { refuse(); }
void copy(void*, const void*, std::int64_t, StreamHandle) { refuse(); }
void fill_zero(void*, std::int64_t, StreamHandle) { refuse(); }
void push_range(const char*) {}
void pop_range() {}
void gemm(const Tensor&, const Tensor&, const Tensor&, const GemmOptions&, StreamHandle) { refuse(); }
std::int64_t gemm_workspace_bytes() { return kCublasWorkspaceBytes; }

}  // namespace mudelta::gpu
