#include "dist/nccl_backend.h"

#include <glog/logging.h>
#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "core/error.h"
#include "dist/process_group_backend.h"

// Evaluates a call into NCCL and throws Error with its text unless it succeeded.
#define MUDELTA_NCCL(call) check((call), #call)

namespace mudelta {
namespace {

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return ncclFloat32;
    case DType::kBFloat16: return ncclBfloat16;
    case DType::kInt32: return ncclInt32;
    case DType::kFloat64: return ncclFloat64;
  }
  LOG(FATAL) << "no NCCL type for " << name_of(dtype);
}

ncclRedOp_t nccl_op(ReduceOp op) { return op == ReduceOp::kSum ? ncclSum : ncclMax; }

std::size_t count_of(const Tensor& tensor) { return static_cast<std::size_t>(tensor.numel()); }

cudaStream_t cuda_stream(Stream stream) {
  require(stream.device().is_cuda(), "a collective on a GPU was given a stream of {}", stream.device().to_string());
  return static_cast<cudaStream_t>(stream.handle());
}

void check(ncclResult_t status, std::string_view call) {
  if (status == ncclSuccess) return;
  const std::string detail = ncclGetLastError(nullptr);
  fail("{} failed: {}{}", call.substr(0, call.find('(')), ncclGetErrorString(status),
       detail.empty() ? "" : " (" + detail + ")");
}

// A communicator of the host group's ranks.
ncclComm_t connect(const ProcessGroup::Backend& host) {
  setenv("NCCL_RUNTIME_CONNECT", "0", 0);  // a link that does not work shows now, and memory is taken now
  ncclUniqueId id{};
  if (host.rank() == 0) MUDELTA_NCCL(ncclGetUniqueId(&id));
  const std::string first = host.all_gather(std::string(id.internal, sizeof id.internal)).front();
  std::memcpy(id.internal, first.data(), sizeof id.internal);
  ncclComm_t comm = nullptr;
  MUDELTA_NCCL(ncclCommInitRank(&comm, host.size(), id, host.rank()));
  return comm;
}

// Looks after a communicator while it lives. Queued work that a broken link or a dead rank interrupts never ends, and
// whoever waits for the device would wait for ever: the watch ends the process instead, and with it the job.
class Watch {
 public:
  Watch(ncclComm_t comm, int rank) : thread_([this, comm, rank] { run(comm, rank); }) {}
  ~Watch() {
    {
      const std::scoped_lock lock(mutex_);
      ended_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  void run(ncclComm_t comm, int rank) {
    constexpr std::chrono::milliseconds kInterval(500);
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kInterval, [this] { return ended_; })) {
      ncclResult_t status = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(comm, &status);
      if (asked != ncclSuccess) status = asked;
      if (status != ncclSuccess && status != ncclInProgress) end_process(comm, rank, status);
    }
  }

  // Not MPI_Abort: MPI is the main thread's. The launcher ends the other ranks.
  [[noreturn]] static void end_process(ncclComm_t comm, int rank, ncclResult_t status) {
    fmt::print(stderr, "mudelta: error: [rank {}] NCCL failed: {} ({}); a rank or the link to it may be gone\n", rank,
               ncclGetErrorString(status), ncclGetLastError(comm));
    std::fflush(stderr);
    std::_Exit(EXIT_FAILURE);
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  std::thread thread_;  // last: it uses the others
};

class NcclBackend final : public ProcessGroup::Backend {
 public:
  explicit NcclBackend(std::shared_ptr<const Backend> host)
      : host_(std::move(host)), comm_(connect(*host_)), watch_(std::in_place, comm_, host_->rank()) {}
  // All ranks destroy (or abort) a communicator together. A rank that an error ends alone leaves it: the process is
  // about to end, and the other ranks with it.
  ~NcclBackend() override {
    watch_.reset();
    if (std::uncaught_exceptions() == 0) ncclCommDestroy(comm_);
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::string transport() const override { return "NCCL"; }
  std::shared_ptr<const Backend> split(int color, int key) const override {
    auto part = host_->split(color, key);
    return part ? nccl_backend(std::move(part)) : nullptr;
  }

  void all_reduce(const Tensor& tensor, ReduceOp op, Stream stream) const override {
    if (!tensor.device().is_cuda()) return host_->all_reduce(tensor, op, stream);
    MUDELTA_NCCL(ncclAllReduce(tensor.raw(), tensor.raw(), count_of(tensor), nccl_type(tensor.dtype()), nccl_op(op),
                               comm_, cuda_stream(stream)));
  }

  void reduce_scatter(const Tensor& input, const Tensor& output, Stream stream) const override {
    if (!input.device().is_cuda()) return host_->reduce_scatter(input, output, stream);
    MUDELTA_NCCL(ncclReduceScatter(input.raw(), output.raw(), count_of(output), nccl_type(input.dtype()), ncclSum,
                                   comm_, cuda_stream(stream)));
  }

  void all_gather(const Tensor& input, const Tensor& output, Stream stream) const override {
    if (!input.device().is_cuda()) return host_->all_gather(input, output, stream);
    MUDELTA_NCCL(ncclAllGather(input.raw(), output.raw(), count_of(input), nccl_type(input.dtype()), comm_,
                               cuda_stream(stream)));
  }

  void broadcast(const Tensor& tensor, int root, Stream stream) const override {
    if (!tensor.device().is_cuda()) return host_->broadcast(tensor, root, stream);
    MUDELTA_NCCL(ncclBroadcast(tensor.raw(), tensor.raw(), count_of(tensor), nccl_type(tensor.dtype()), root, comm_,
                               cuda_stream(stream)));
  }

  void all_to_all(const Tensor& input, const Tensor& output, Stream stream) const override {
    if (!input.device().is_cuda()) return host_->all_to_all(input, output, stream);
    const std::size_t count = count_of(input) / static_cast<std::size_t>(size());
    const std::int64_t part_bytes = input.num_bytes() / size();
    const ncclDataType_t type = nccl_type(input.dtype());
    const cudaStream_t queue = cuda_stream(stream);
    MUDELTA_NCCL(ncclGroupStart());  // what fails in a group makes its end fail
    for (int peer = 0; peer < size(); ++peer) {
      ncclSend(input.raw() + peer * part_bytes, count, type, peer, comm_, queue);
      ncclRecv(output.raw() + peer * part_bytes, count, type, peer, comm_, queue);
    }
    MUDELTA_NCCL(ncclGroupEnd());
  }

  void send(const Tensor& tensor, int to, Stream stream) const override {
    if (!tensor.device().is_cuda()) return host_->send(tensor, to, stream);
    MUDELTA_NCCL(ncclSend(tensor.raw(), count_of(tensor), nccl_type(tensor.dtype()), to, comm_, cuda_stream(stream)));
  }

  void receive(const Tensor& tensor, int from, Stream stream) const override {
    if (!tensor.device().is_cuda()) return host_->receive(tensor, from, stream);
    MUDELTA_NCCL(ncclRecv(tensor.raw(), count_of(tensor), nccl_type(tensor.dtype()), from, comm_, cuda_stream(stream)));
  }

  void barrier() const override { host_->barrier(); }
  bool barrier_within(double seconds) const override { return host_->barrier_within(seconds); }
  std::vector<double> all_gather(const std::vector<double>& values) const override { return host_->all_gather(values); }
  std::vector<std::string> all_gather(const std::string& value) const override { return host_->all_gather(value); }

 private:
  std::shared_ptr<const Backend> host_;
  ncclComm_t comm_;
  std::optional<Watch> watch_;
};

}  // namespace

std::shared_ptr<const ProcessGroup::Backend> nccl_backend(std::shared_ptr<const ProcessGroup::Backend> host) {
  return std::make_shared<const NcclBackend>(std::move(host));
}

std::string nccl_version() {
  int version = 0;
  ncclGetVersion(&version);
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace mudelta
