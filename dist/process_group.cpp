#include "dist/process_group.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <tuple>

#include "core/error.h"
#include "dist/collective_check.h"
#include "dist/host_staged_backend.h"
#include "dist/mpi_backend.h"
#include "dist/nccl_backend.h"
#include "dist/process_group_backend.h"
#include "dist/watchdog.h"

namespace mudelta {
namespace {

void require_defined(std::string_view op, const Tensor& tensor) {
  require(tensor.defined(), "[{}] a tensor is undefined", op);
}

void require_same_dtype(std::string_view op, const Tensor& input, const Tensor& output) {
  require_defined(op, input);
  require_defined(op, output);
  require(input.dtype() == output.dtype(), "[{}] input {} and output {} differ in dtype", op, input.to_string(),
          output.to_string());
}

// Elements of one rank's part where `whole` holds one part per rank.
void require_parts(std::string_view op, const Tensor& whole, const Tensor& part, int num_ranks) {
  require(whole.numel() == part.numel() * num_ranks, "[{}] {} is not {} parts of {}", op, whole.to_string(), num_ranks,
          part.to_string());
}

bool overlap(const Tensor& a, const Tensor& b) {
  return a.raw() < b.raw() + b.num_bytes() && b.raw() < a.raw() + a.num_bytes();
}

// The overlap that reduce_scatter and all_gather allow: `part` is exactly part number `rank` of `whole`, or outside it.
void require_own_part_or_apart(std::string_view op, const Tensor& whole, const Tensor& part, int rank) {
  require(!overlap(whole, part) || part.raw() == whole.raw() + rank * part.num_bytes(),
          "[{}] {} overlaps {} elsewhere than in the part of rank {}", op, part.to_string(), whole.to_string(), rank);
}

void copy_unless_same(const Tensor& input, const Tensor& output) {
  if (input.raw() != output.raw()) output.view(input.shape()).copy_from(input);
}

// Of a whole that goes once around a ring in equal parts, but for its own: what each rank sends.
std::int64_t ring_bytes(const Tensor& whole, int num_ranks) { return whole.num_bytes() * (num_ranks - 1) / num_ranks; }

std::string_view name_of(ReduceOp op) { return op == ReduceOp::kSum ? "sum" : "max"; }

std::string elements(const Tensor& tensor) { return fmt::format("{} {}", tensor.numel(), name_of(tensor.dtype())); }

double combine(ReduceOp op, double a, double b) {
  if (op == ReduceOp::kSum) return a + b;
  return std::isnan(a) || std::isnan(b) ? a + b : std::max(a, b);
}

}  // namespace

struct ProcessGroup::Family {
  Traffic traffic;
  Observer observer;
  std::unique_ptr<CollectiveCheck> check;  // null: no checks
};

ProcessGroup::ProcessGroup(std::shared_ptr<const Backend> backend, std::shared_ptr<Family> family, std::string name)
    : backend_(std::move(backend)), family_(std::move(family)), name_(std::move(name)) {}

ProcessGroup ProcessGroup::single() { return {nullptr, std::make_shared<Family>(), "single"}; }

ProcessGroup ProcessGroup::world() { return {mpi_world_backend(), std::make_shared<Family>(), "world"}; }

int ProcessGroup::rank() const { return backend_ ? backend_->rank() : 0; }

int ProcessGroup::size() const { return backend_ ? backend_->size() : 1; }
std::string ProcessGroup::transport() const { return backend_ ? backend_->transport() : ""; }

ProcessGroup ProcessGroup::on_devices(DeviceTransport transport) const {
  if (!backend_) return *this;
  return {transport == DeviceTransport::kNccl ? nccl_backend(backend_) : host_staged_backend(backend_), family_, name_};
}

ProcessGroup ProcessGroup::split(int color, int key) const {
  require(color >= 0, "[split] color is {}, expected >= 0", color);
  return backend_ ? ProcessGroup(backend_->split(color, key), family_, name_) : *this;
}

ProcessGroup ProcessGroup::named(std::string name) const { return {backend_, family_, std::move(name)}; }

const Traffic& ProcessGroup::traffic() const { return family_->traffic; }

void ProcessGroup::observe(Observer observer) const { family_->observer = std::move(observer); }

// A collective of the backend.
template <class Body>
void ProcessGroup::run(Stream stream, const Body& body) const {
  if (family_->observer) family_->observer(stream, /*is_end=*/false);
  body();
  if (family_->observer) family_->observer(stream, /*is_end=*/true);
}

void ProcessGroup::check_collectives() const {
  if (!family_->check) family_->check = std::make_unique<CollectiveCheck>();
}

// What comes before any collective of this group. `arguments`: what must be alike on all ranks.
template <class... Arguments>
void ProcessGroup::begin(CollectiveKind kind, std::int64_t bytes, const Place& place,
                         const Arguments&... arguments) const {
  if (!backend_) return;
  note_collective(mudelta::name_of(kind), name_, place);
  family_->traffic.add(name_, kind, bytes);
  if (!family_->check) return;
  family_->check->before(*backend_, name_, {kind, fmt::format("{}", fmt::join(std::tuple(arguments...), ", ")), place});
}

void ProcessGroup::all_reduce(const Tensor& tensor, ReduceOp op, Stream stream, Place place) const {
  require_defined("all_reduce", tensor);
  require(tensor.dtype() != DType::kBFloat16 || op == ReduceOp::kSum,
          "[all_reduce] expected another dtype than bfloat16 for a maximum, got {}", tensor.to_string());
  begin(CollectiveKind::kAllReduce, 2 * ring_bytes(tensor, size()), place, elements(tensor), name_of(op));
  if (backend_ && tensor.numel() > 0) run(stream, [&] { backend_->all_reduce(tensor, op, stream); });
}

void ProcessGroup::reduce_scatter(const Tensor& input, const Tensor& output, Stream stream, Place place) const {
  require_same_dtype("reduce_scatter", input, output);
  require(input.dtype() == DType::kFloat32 || input.dtype() == DType::kBFloat16,
          "[reduce_scatter] expected float32 or bfloat16, got {}", input.to_string());
  require_parts("reduce_scatter", input, output, size());
  require_own_part_or_apart("reduce_scatter", input, output, rank());
  begin(CollectiveKind::kReduceScatter, ring_bytes(input, size()), place, elements(input));
  if (!backend_) {
    copy_unless_same(input, output);
  } else if (input.numel() > 0) {
    run(stream, [&] { backend_->reduce_scatter(input, output, stream); });
  }
}

void ProcessGroup::all_gather(const Tensor& input, const Tensor& output, Stream stream, Place place) const {
  require_same_dtype("all_gather", input, output);
  require_parts("all_gather", output, input, size());
  require_own_part_or_apart("all_gather", output, input, rank());
  begin(CollectiveKind::kAllGather, ring_bytes(output, size()), place, elements(output));
  if (!backend_) {
    copy_unless_same(input, output);
  } else if (input.numel() > 0) {
    run(stream, [&] { backend_->all_gather(input, output, stream); });
  }
}

void ProcessGroup::broadcast(const Tensor& tensor, int root, Stream stream, Place place) const {
  require_defined("broadcast", tensor);
  require(0 <= root && root < size(), "[broadcast] root is {}, expected a rank of a group of {}", root, size());
  begin(CollectiveKind::kBroadcast, ring_bytes(tensor, size()), place, elements(tensor), fmt::format("root {}", root));
  if (backend_ && tensor.numel() > 0) run(stream, [&] { backend_->broadcast(tensor, root, stream); });
}

void ProcessGroup::all_to_all(const Tensor& input, const Tensor& output, Stream stream, Place place) const {
  require_same_dtype("all_to_all", input, output);
  require(input.numel() == output.numel() && input.numel() % size() == 0,
          "[all_to_all] expected input and output of one size, a multiple of {} elements; got {} and {}", size(),
          input.to_string(), output.to_string());
  require(!overlap(input, output), "[all_to_all] {} and {} overlap", input.to_string(), output.to_string());
  begin(CollectiveKind::kAllToAll, ring_bytes(input, size()), place, elements(input));
  if (!backend_) {
    copy_unless_same(input, output);
  } else if (input.numel() > 0) {
    run(stream, [&] { backend_->all_to_all(input, output, stream); });
  }
}

void ProcessGroup::send(const Tensor& tensor, int to, Stream stream, Place place) const {
  require_defined("send", tensor);
  require(0 <= to && to < size() && to != rank(), "[send] to is {}, expected a rank of a group of {} other than {}", to,
          size(), rank());
  begin(CollectiveKind::kSend, tensor.num_bytes(), place, elements(tensor), fmt::format("to {}", to));
  if (tensor.numel() > 0) run(stream, [&] { backend_->send(tensor, to, stream); });
}

void ProcessGroup::receive(const Tensor& tensor, int from, Stream stream, Place place) const {
  require_defined("receive", tensor);
  require(0 <= from && from < size() && from != rank(),
          "[receive] from is {}, expected a rank of a group of {} other than {}", from, size(), rank());
  begin(CollectiveKind::kReceive, 0, place, elements(tensor), fmt::format("from {}", from));
  if (tensor.numel() > 0) run(stream, [&] { backend_->receive(tensor, from, stream); });
}

void ProcessGroup::barrier(Place place) const {
  begin(CollectiveKind::kBarrier, 0, place);
  if (backend_) backend_->barrier();
}

double ProcessGroup::all_reduce(double value, ReduceOp op, Place place) const {
  return all_reduce(std::vector{value}, op, place)[0];
}

bool ProcessGroup::barrier_within(double seconds) const { return !backend_ || backend_->barrier_within(seconds); }

std::vector<double> ProcessGroup::all_reduce(std::vector<double> values, ReduceOp op, Place place) const {
  if (!backend_) return values;
  begin(CollectiveKind::kHostValues, static_cast<std::int64_t>(values.size() * sizeof(double)) * (size() - 1), place,
        fmt::format("{} numbers", values.size()), name_of(op));
  const std::vector<double> all = backend_->all_gather(values);
  const std::size_t count = values.size();
  for (std::size_t i = 0; i < all.size(); ++i) {
    values[i % count] = i < count ? all[i] : combine(op, values[i % count], all[i]);
  }
  return values;
}

std::vector<std::string> ProcessGroup::all_gather(const std::string& value, Place place) const {
  if (!backend_) return {value};
  begin(CollectiveKind::kHostValues, static_cast<std::int64_t>(value.size()) * (size() - 1), place, "a text");
  return backend_->all_gather(value);
}

}  // namespace mudelta
