#include "dist/mpi_backend.h"

#include <glog/logging.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "core/error.h"
#include "dist/mpi_counts.h"
#include "dist/mpi_runtime.h"
#include "dist/process_group_backend.h"

namespace mudelta {
namespace {

constexpr int kTag = 0;

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return MPI_FLOAT;
    case DType::kBFloat16: return MPI_UINT16_T;
    case DType::kInt32: return MPI_INT32_T;
    case DType::kFloat64: return MPI_DOUBLE;
  }
  LOG(FATAL) << "no MPI type for " << name_of(dtype);
}

// into = from + into, each sum rounded: MPI has no bfloat16.
void add_bfloat16(void* from, void* into, int* count, MPI_Datatype* /*type*/) {
  const auto* x = static_cast<const bfloat16*>(from);
  auto* y = static_cast<bfloat16*>(into);
  for (int i = 0; i < *count; ++i) y[i] = bfloat16(static_cast<float>(x[i]) + static_cast<float>(y[i]));
}

// Made once, and left to MPI, which ends before the program does.
MPI_Op bfloat16_sum() {
  static const MPI_Op op = [] {
    MPI_Op made = MPI_OP_NULL;
    MUDELTA_MPI(MPI_Op_create(add_bfloat16, /*commute=*/1, &made));
    return made;
  }();
  return op;
}

MPI_Op mpi_op(ReduceOp op, DType dtype) {
  if (op == ReduceOp::kMax) return MPI_MAX;
  return dtype == DType::kBFloat16 ? bfloat16_sum() : MPI_SUM;
}

std::byte* element(const Tensor& tensor, std::int64_t index) {
  CHECK(!tensor.device().is_cuda()) << tensor.to_string() << " in a group that is not for devices (on_devices)";
  return tensor.raw() + index * size_of(tensor.dtype());
}

// Owns a communicator made by a split; the world's is MPI's own.
class Communicator {
 public:
  enum class Ownership { kOwned, kBorrowed };
  Communicator(MPI_Comm comm, Ownership ownership) : comm_(comm), ownership_(ownership) {}
  ~Communicator() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (ownership_ == Ownership::kBorrowed || finalized) return;
    const int code = MPI_Comm_free(&comm_);
    LOG_IF(ERROR, code != MPI_SUCCESS) << "MPI_Comm_free failed with code " << code;
  }
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  MPI_Comm get() const { return comm_; }
  int rank() const {
    int rank = 0;
    MUDELTA_MPI(MPI_Comm_rank(comm_, &rank));
    return rank;
  }
  int size() const {
    int size = 0;
    MUDELTA_MPI(MPI_Comm_size(comm_, &size));
    return size;
  }

 private:
  MPI_Comm comm_;
  Ownership ownership_;
};

class MpiBackend final : public ProcessGroup::Backend {
 public:
  explicit MpiBackend(std::unique_ptr<const Communicator> comm)
      : comm_(std::move(comm)), rank_(comm_->rank()), size_(comm_->size()) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "MPI"; }

  std::shared_ptr<const ProcessGroup::Backend> split(int color, int key) const override {
    MPI_Comm part = MPI_COMM_NULL;
    MUDELTA_MPI(MPI_Comm_split(comm_->get(), color, key, &part));
    auto owner = std::make_unique<const Communicator>(part, Communicator::Ownership::kOwned);
    if (owner->size() == 1) return nullptr;
    return std::make_shared<const MpiBackend>(std::move(owner));
  }

  void all_reduce(const Tensor& tensor, ReduceOp op, Stream) const override {
    for_each_piece(tensor.numel(), kMaxMpiCount, [&](std::int64_t begin, int count) {
      MUDELTA_MPI(MPI_Allreduce(MPI_IN_PLACE, element(tensor, begin), count, mpi_type(tensor.dtype()),
                                mpi_op(op, tensor.dtype()), comm_->get()));
    });
  }

  // MPI's own in-place form puts the result at the start of the input; ours keeps it in the rank's part.
  void reduce_scatter(const Tensor& input, const Tensor& output, Stream) const override {
    const int count = mpi_count(input.numel(), "reduce_scatter") / size_;
    const bool in_place = output.raw() == element(input, rank_ * output.numel());
    const Tensor result = in_place ? Tensor::empty(output.shape(), output.dtype()) : output;
    MUDELTA_MPI(MPI_Reduce_scatter_block(element(input, 0), element(result, 0), count, mpi_type(input.dtype()),
                                         mpi_op(ReduceOp::kSum, input.dtype()), comm_->get()));
    if (in_place) output.copy_from(result);
  }

  void all_gather(const Tensor& input, const Tensor& output, Stream) const override {
    const int count = mpi_count(output.numel(), "all_gather") / size_;
    const bool in_place = input.raw() == element(output, rank_ * input.numel());
    const MPI_Datatype type = mpi_type(input.dtype());
    MUDELTA_MPI(MPI_Allgather(in_place ? MPI_IN_PLACE : element(input, 0), count, type, element(output, 0), count, type,
                              comm_->get()));
  }

  void broadcast(const Tensor& tensor, int root, Stream) const override {
    for_each_piece(tensor.numel(), kMaxMpiCount, [&](std::int64_t begin, int count) {
      MUDELTA_MPI(MPI_Bcast(element(tensor, begin), count, mpi_type(tensor.dtype()), root, comm_->get()));
    });
  }

  void all_to_all(const Tensor& input, const Tensor& output, Stream) const override {
    const int count = mpi_count(input.numel(), "all_to_all") / size_;
    const MPI_Datatype type = mpi_type(input.dtype());
    MUDELTA_MPI(MPI_Alltoall(element(input, 0), count, type, element(output, 0), count, type, comm_->get()));
  }

  void send(const Tensor& tensor, int to, Stream) const override {
    for_each_piece(tensor.numel(), kMaxMpiCount, [&](std::int64_t begin, int count) {
      MUDELTA_MPI(MPI_Send(element(tensor, begin), count, mpi_type(tensor.dtype()), to, kTag, comm_->get()));
    });
  }

  void receive(const Tensor& tensor, int from, Stream) const override {
    for_each_piece(tensor.numel(), kMaxMpiCount, [&](std::int64_t begin, int count) {
      MUDELTA_MPI(MPI_Recv(element(tensor, begin), count, mpi_type(tensor.dtype()), from, kTag, comm_->get(),
                           MPI_STATUS_IGNORE));
    });
  }

  void barrier() const override { MUDELTA_MPI(MPI_Barrier(comm_->get())); }

  bool barrier_within(double seconds) const override {
    const auto begin = std::chrono::steady_clock::now();
    MPI_Request arrival = MPI_REQUEST_NULL;
    MUDELTA_MPI(MPI_Ibarrier(comm_->get(), &arrival));
    for (;;) {
      int all_are_here = 0;
      MUDELTA_MPI(MPI_Test(&arrival, &all_are_here, MPI_STATUS_IGNORE));
      if (all_are_here) return true;
      if (std::chrono::steady_clock::now() - begin >= std::chrono::duration<double>(seconds)) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::vector<double> all_gather(const std::vector<double>& values) const override {
    const auto count = static_cast<int>(values.size());
    std::vector<double> all(values.size() * static_cast<std::size_t>(size_));
    MUDELTA_MPI(MPI_Allgather(values.data(), count, MPI_DOUBLE, all.data(), count, MPI_DOUBLE, comm_->get()));
    return all;
  }

  std::vector<std::string> all_gather(const std::string& value) const override {
    const auto length = static_cast<std::int64_t>(value.size());
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(size_));
    MUDELTA_MPI(MPI_Allgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, comm_->get()));
    std::string all(static_cast<std::size_t>(
                        mpi_count(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}), "all_gather")),
                    '\0');

    const std::vector<int> counts(lengths.begin(), lengths.end());
    std::vector<int> begins(counts.size());
    std::exclusive_scan(counts.begin(), counts.end(), begins.begin(), 0);
    MUDELTA_MPI(MPI_Allgatherv(value.data(), counts[rank_], MPI_CHAR, all.data(), counts.data(), begins.data(),
                               MPI_CHAR, comm_->get()));
    std::vector<std::string> values;
    for (std::size_t i = 0; i < counts.size(); ++i) values.push_back(all.substr(begins[i], counts[i]));
    return values;
  }

 private:
  std::unique_ptr<const Communicator> comm_;
  int rank_;
  int size_;
};

}  // namespace

std::shared_ptr<const ProcessGroup::Backend> mpi_world_backend() {
  if (!mpi_active()) {
    require(!started_by_launcher(),
            "mpirun started this process, but the world group was asked for while MPI is not initialised");
    return nullptr;
  }
  auto world = std::make_unique<const Communicator>(MPI_COMM_WORLD, Communicator::Ownership::kBorrowed);
  if (world->size() == 1) return nullptr;
  return std::make_shared<const MpiBackend>(std::move(world));
}

}  // namespace mudelta
