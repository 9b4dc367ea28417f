#include "dist/parameter_shards.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr std::int64_t kAlignElements = 16;
constexpr std::int64_t kMaxBucketBytes = std::int64_t{1} << 30;  // MPI counts elements in int

Tensor view_of(const Tensor& flat, const FlatRange& range) {
  return flat.flat_view(range.begin, {range.end - range.begin});
}

FlatRange part_of(const FlatRange& bucket, int part, int num_parts) {
  const std::int64_t numel = (bucket.end - bucket.begin) / num_parts;
  return {bucket.group, bucket.begin + part * numel, bucket.begin + (part + 1) * numel};
}

int unit_at(const FlatGroup& group, std::int64_t element) {
  return std::ranges::find_if(group.units, [&](const FlatGroup::Unit& u) { return element < u.end; })->unit;
}

Device device_of(ParameterStore& store) {
  return store.groups().empty() ? Device() : store.groups()[0].values.device();
}

}  // namespace

ParameterShards::ParameterShards(ParameterStore& store, ProcessGroup data, std::int64_t bucket_bytes,
                                 const ProcessGroup& tensor)
    : store_(store), data_(std::move(data)), communication_(device_of(store)) {
  require(store.num_shards() == data_.size(), "[parameter_shards] parameters are padded for {} shards, expected {}",
          store.num_shards(), data_.size());
  require(bucket_bytes > 0, "[parameter_shards] bucket_bytes is {}, expected > 0", bucket_bytes);
  const std::int64_t unit = kAlignElements * data_.size();
  const std::int64_t wanted = std::min(bucket_bytes, kMaxBucketBytes) / size_of(DType::kFloat32);
  const std::int64_t bucket = std::max(wanted / unit * unit, unit);
  for (std::size_t group = 0; group < store.groups().size(); ++group) {
    for (std::int64_t end = store.groups()[group].gradients.numel(); end > 0; end -= bucket) {
      const FlatRange range{group, std::max(end - bucket, std::int64_t{0}), end};
      buckets_.push_back({range, unit_at(store.groups()[group], range.begin)});
      owned_.push_back(part_of(range, data_.rank(), data_.size()));
    }
  }
  for (std::size_t i = 0; i < buckets_.size(); ++i) reductions_.push_back({buckets_[i].first_unit, false, i});
  std::map<int, ProcessGroup> groups;  // of neighbours in the tensor group, by their number
  for (std::size_t i = 0; i < store.parameters().size(); ++i) {
    const ParameterPart& part = store.parameters()[i].part;
    if (!part.is_partial) continue;
    if (!groups.contains(part.copies)) {
      groups.emplace(part.copies,
                     part.copies == tensor.size() ? tensor : tensor.split(tensor.rank() / part.copies, tensor.rank()));
    }
    reductions_.push_back({store.parameters()[i].spec.unit, true, partial_.size()});
    partial_.push_back({i, groups.at(part.copies)});
  }
  std::ranges::stable_sort(reductions_, std::ranges::greater(),
                           [](const Reduction& r) { return std::pair(r.first_unit, r.is_partial); });
}

void ParameterShards::reduce_scatter_final(int first_final, Stream stream) {
  for (; num_reduced_ < reductions_.size(); ++num_reduced_) {
    const Reduction& next = reductions_[num_reduced_];
    if (next.first_unit < first_final) return;
    Stream(communication_).wait_for(stream);
    if (next.is_partial) {
      const auto& [parameter, copies] = partial_[next.index];
      copies.all_reduce(store_.parameters()[parameter].gradient, ReduceOp::kSum, communication_);
    } else {
      const FlatRange& own = owned_[next.index];
      const Tensor& gradients = store_.groups()[own.group].gradients;
      data_.reduce_scatter(view_of(gradients, buckets_[next.index].range), view_of(gradients, own), communication_);
    }
  }
}

void ParameterShards::reduce_scatter_gradients(Stream stream) {
  reduce_scatter_final(0, stream);
  num_reduced_ = 0;
  stream.wait_for(communication_);
}

void ParameterShards::all_gather_bucket(std::size_t bucket, Stream stream) {
  const Tensor& values = store_.groups()[owned_[bucket].group].values;
  Stream(communication_).wait_for(stream);
  data_.all_gather(view_of(values, owned_[bucket]), view_of(values, buckets_[bucket].range), communication_);
  buckets_[bucket].gathered = true;
}

void ParameterShards::all_gather_values(Stream stream) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (!buckets_[i].gathered) all_gather_bucket(i, stream);
    buckets_[i].gathered = false;
  }
  stream.wait_for(communication_);
}

}  // namespace mudelta
