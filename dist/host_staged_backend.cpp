#include "dist/host_staged_backend.h"

#include "dist/process_group_backend.h"

namespace mudelta {
namespace {

constexpr Device kPinned{DeviceType::kPinned};

// A host tensor that stands for `tensor` in a collective: the tensor itself if it is on the host.
class Staged {
 public:
  explicit Staged(const Tensor& tensor)
      : original_(tensor),
        host_(tensor.device().is_cuda() ? Tensor::empty(tensor.shape(), tensor.dtype(), kPinned) : tensor) {}

  const Tensor& read() const {
    if (original_.device().is_cuda()) host_.copy_from(original_);
    return host_;
  }
  const Tensor& host() const { return host_; }
  // The pinned memory must not change before the copy is done: the host waits.
  void write() const {
    if (!original_.device().is_cuda()) return;
    original_.copy_from(host_);
    Stream(original_.device()).synchronize();
  }

 private:
  const Tensor original_, host_;
};

class HostStagedBackend final : public ProcessGroup::Backend {
 public:
  explicit HostStagedBackend(std::shared_ptr<const Backend> host) : host_(std::move(host)) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::string transport() const override { return "MPI through host memory"; }
  std::shared_ptr<const Backend> split(int color, int key) const override {
    auto part = host_->split(color, key);
    return part ? host_staged_backend(std::move(part)) : nullptr;
  }

  void all_reduce(const Tensor& tensor, ReduceOp op, Stream stream) const override {
    stream.synchronize();
    const Staged staged(tensor);
    host_->all_reduce(staged.read(), op, {});
    staged.write();
  }

  void reduce_scatter(const Tensor& input, const Tensor& output, Stream stream) const override {
    stream.synchronize();
    const Staged from(input), to(output);
    host_->reduce_scatter(from.read(), to.host(), {});
    to.write();
  }

  void all_gather(const Tensor& input, const Tensor& output, Stream stream) const override {
    stream.synchronize();
    const Staged from(input), to(output);
    host_->all_gather(from.read(), to.host(), {});
    to.write();
  }

  void broadcast(const Tensor& tensor, int root, Stream stream) const override {
    stream.synchronize();
    const Staged staged(tensor);
    host_->broadcast(staged.read(), root, {});
    staged.write();
  }

  void all_to_all(const Tensor& input, const Tensor& output, Stream stream) const override {
    stream.synchronize();
    const Staged from(input), to(output);
    host_->all_to_all(from.read(), to.host(), {});
    to.write();
  }

  void send(const Tensor& tensor, int to, Stream stream) const override {
    stream.synchronize();
    host_->send(Staged(tensor).read(), to, {});
  }

  void receive(const Tensor& tensor, int from, Stream stream) const override {
    stream.synchronize();
    const Staged staged(tensor);
    host_->receive(staged.host(), from, {});
    staged.write();
  }

  void barrier() const override { host_->barrier(); }
  bool barrier_within(double seconds) const override { return host_->barrier_within(seconds); }
  std::vector<double> all_gather(const std::vector<double>& values) const override { return host_->all_gather(values); }
  std::vector<std::string> all_gather(const std::string& value) const override { return host_->all_gather(value); }

 private:
  std::shared_ptr<const Backend> host_;
};

}  // namespace

std::shared_ptr<const ProcessGroup::Backend> host_staged_backend(std::shared_ptr<const ProcessGroup::Backend> host) {
  return std::make_shared<const HostStagedBackend>(std::move(host));
}

}  // namespace mudelta
