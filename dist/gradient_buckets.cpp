#include "dist/gradient_buckets.h"

#include <algorithm>

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

}  // namespace

GradientBuckets::GradientBuckets(ParameterStore& store, ProcessGroup data, std::int64_t bucket_bytes)
    : store_(store), data_(std::move(data)) {
  require(store.num_shards() == data_.size(), "[gradient_buckets] parameters are padded for {} shards, expected {}",
          store.num_shards(), data_.size());
  require(bucket_bytes > 0, "[gradient_buckets] bucket_bytes is {}, expected > 0", bucket_bytes);
  const std::int64_t unit = kAlignElements * data_.size();
  const std::int64_t wanted = std::min(bucket_bytes, kMaxBucketBytes) / size_of(DType::kFloat32);
  const std::int64_t bucket = std::max(wanted / unit * unit, unit);
  for (std::size_t group = 0; group < store.groups().size(); ++group) {
    for (std::int64_t end = store.groups()[group].gradients.numel(); end > 0; end -= bucket) {
      buckets_.push_back({group, std::max(end - bucket, std::int64_t{0}), end});
    }
  }
  for (const FlatRange& range : buckets_) owned_.push_back(part_of(range, data_.rank(), data_.size()));
}

void GradientBuckets::reduce_scatter_gradients(Stream stream) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const Tensor& gradients = store_.groups()[buckets_[i].group].gradients;
    data_.reduce_scatter(view_of(gradients, buckets_[i]), view_of(gradients, owned_[i]), stream);
  }
}

void GradientBuckets::all_gather_values(Stream stream) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const Tensor& values = store_.groups()[buckets_[i].group].values;
    data_.all_gather(view_of(values, owned_[i]), view_of(values, buckets_[i]), stream);
  }
}

}  // namespace mudelta
