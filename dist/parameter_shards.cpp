#include "dist/parameter_shards.h"

#include <glog/logging.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "core/error.h"
#include "kernels/elementwise.h"

namespace mudelta {
namespace {

constexpr std::int64_t kAlignElements = 16;
constexpr std::int64_t kMaxBucketBytes = std::int64_t{1} << 30;  // MPI counts elements in int

std::int64_t numel_of(const FlatRange& range) { return range.end - range.begin; }

FlatRange part_of(const FlatRange& bucket, int part, int num_parts) {
  const std::int64_t numel = numel_of(bucket) / num_parts;
  return {bucket.group, bucket.begin + part * numel, bucket.begin + (part + 1) * numel};
}

// The place of the first unit with elements from number `element` on.
std::size_t unit_at(const FlatGroup& group, std::int64_t element) {
  const auto found = std::ranges::find_if(group.units, [&](const FlatGroup::Unit& u) { return element < u.end; });
  return static_cast<std::size_t>(found - group.units.begin());
}

Tensor view_of(const Tensor& flat, const FlatRange& range) { return flat.slice(range.begin, range.end); }

}  // namespace

WholeBuffers whole_buffers(int zero_stage) { return {.values = zero_stage < 3, .gradients = zero_stage < 2}; }

ParameterShards::ParameterShards(ParameterStore& store, ProcessGroup data, std::int64_t bucket_bytes,
                                 const ProcessGroup& tensor, int zero_stage)
    : store_(store),
      data_(std::move(data)),
      zero_stage_(zero_stage),
      reducing_(store.device()),
      gathering_(store.device()) {
  require(zero_stage >= 0 && zero_stage <= 3, "[parameter_shards] zero_stage is {}, expected 0 to 3", zero_stage);
  require(store.num_shards() == data_.size(), "[parameter_shards] parameters are padded for {} shards, expected {}",
          store.num_shards(), data_.size());
  require(store.whole() == whole_buffers(zero_stage),
          "[parameter_shards] the store does not hold whole what stage {} has whole", zero_stage);
  require(bucket_bytes > 0, "[parameter_shards] bucket_bytes is {}, expected > 0", bucket_bytes);
  cut(bucket_bytes);
  hold_shards();
  find_partial(tensor);
  std::ranges::stable_sort(reductions_, std::ranges::greater(),
                           [](const Reduction& r) { return std::pair(r.unit, r.is_partial); });
}

// Calls visit(number of the group, its units' place) where the unit has parameters.
template <class Visit>
void ParameterShards::for_each_place(int unit, const Visit& visit) {
  for (std::size_t group = 0; group < store_.groups().size(); ++group) {
    const auto& units = store_.groups()[group].units;
    const auto found = std::ranges::lower_bound(units, unit, {}, &FlatGroup::Unit::unit);
    if (found != units.end() && found->unit == unit) visit(group, static_cast<std::size_t>(found - units.begin()));
  }
}

void ParameterShards::cut(std::int64_t bucket_bytes) {
  const std::int64_t least = kAlignElements * data_.size();
  const std::int64_t wanted = std::min(bucket_bytes, kMaxBucketBytes) / size_of(DType::kFloat32);
  const std::int64_t most = std::max(wanted / least * least, least);
  const auto cut_range = [&](const FlatRange& range) {
    const FlatGroup& group = store_.groups()[range.group];
    for (std::int64_t end = range.end; end > range.begin; end -= most) {
      const FlatRange bucket{range.group, std::max(end - most, range.begin), end};
      const std::size_t unit = unit_at(group, bucket.begin);
      reductions_.push_back({group.units[unit].unit, false, buckets_.size()});
      buckets_.push_back({bucket, unit, 0});
    }
  };
  for (std::size_t i = 0; i < store_.groups().size(); ++i) {
    const FlatGroup& group = store_.groups()[i];
    if (zero_stage_ < 2) {
      cut_range({i, 0, group.numel});
    } else {
      for (auto unit = group.units.rbegin(); unit != group.units.rend(); ++unit) cut_range({i, unit->begin, unit->end});
    }
  }
}

void ParameterShards::hold_shards() {
  std::vector<Tensor> held_values;
  std::vector<std::int64_t> num_held(store_.groups().size());
  for (const FlatGroup& group : store_.groups()) {
    const Shape held{group.numel / data_.size()};
    if (!store_.whole().values) held_values.push_back(Tensor::zeros(held, group.dtype, store_.device()));
    if (!store_.whole().gradients) {
      held_gradients_.push_back(Tensor::zeros(held, DType::kFloat32, store_.device()));
    }
  }
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    for (int rank = 0; rank < data_.size(); ++rank) {
      const bool is_own = rank == data_.rank();
      if (!is_own && zero_stage_ > 0) continue;
      const FlatRange range = part_of(buckets_[i].range, rank, data_.size());
      const FlatGroup& group = store_.groups()[range.group];
      const FlatRange held{range.group, num_held[range.group], num_held[range.group] + numel_of(range)};
      num_held[range.group] = held.end;
      if (is_own) buckets_[i].own = shards_.size();
      shards_.push_back(
          {range, i, is_own,
           store_.whole().values ? view_of(group.values, range) : view_of(held_values[range.group], held),
           store_.whole().gradients ? view_of(group.gradients, range) : view_of(held_gradients_[range.group], held)});
    }
  }
}

void ParameterShards::find_partial(const ProcessGroup& tensor) {
  std::map<int, ProcessGroup> groups;  // of neighbours in the tensor group, by their number
  for (std::size_t i = 0; i < store_.groups().size(); ++i) {
    const FlatGroup& group = store_.groups()[i];
    int copies_before = 0;
    for (const FlatGroup::Entry& entry : group.entries) {
      if (entry.numel == 0) continue;
      const Parameter& parameter = store_.parameters()[entry.parameter];
      const int copies = parameter.part.is_partial ? parameter.part.copies : 0;
      const std::size_t unit = unit_at(group, entry.begin);
      const bool goes_on = copies == copies_before && !partial_.empty() && partial_.back().unit == unit;
      copies_before = copies;
      if (copies == 0) continue;
      if (goes_on) {  // neighbours are summed together
        partial_.back().range.end = entry.begin + entry.numel;
        continue;
      }
      if (!groups.contains(copies)) {
        groups.emplace(copies, copies == tensor.size() ? tensor : tensor.split(tensor.rank() / copies, tensor.rank()));
      }
      reductions_.push_back({parameter.spec.unit, true, partial_.size()});
      partial_.push_back({{i, entry.begin, entry.begin + entry.numel}, unit, groups.at(copies)});
    }
  }
}

void ParameterShards::zero_gradients() {
  store_.zero_gradients();
  for (const Tensor& gradients : held_gradients_) gradients.fill_zero();
}

void ParameterShards::open_gradients(int unit, Stream stream) {
  if (zero_stage_ < 2) return;
  for_each_place(unit, [&](std::size_t group, std::size_t place) {
    const auto& [number, begin, end, values, gradients] = store_.groups()[group].units[place];
    if (gradients) return;
    store_.lend_gradients(group, place, Tensor::zeros({end - begin}, DType::kFloat32, stream.device()));
  });
}

void ParameterShards::gradients_final(int unit, Stream stream) {
  const Stream reductions = reducing_;
  if (zero_stage_ >= 2) {
    stream.wait_for(reductions);
    leaving_.clear();
  }
  for (; num_reduced_ < reductions_.size() && reductions_[num_reduced_].unit >= unit; ++num_reduced_) {
    reductions.wait_for(stream);
    reduce(reductions_[num_reduced_]);
  }
  if (zero_stage_ < 2) return;
  if (num_reduced_ == reductions_.size()) num_reduced_ = 0;
  for_each_place(unit, [&](std::size_t group, std::size_t place) {
    leaving_.push_back(store_.groups()[group].units[place].gradients);
    store_.lend_gradients(group, place, {});
  });
}

void ParameterShards::finish_gradients(Stream stream) {
  if (zero_stage_ < 2) gradients_final(0, stream);
  num_reduced_ = 0;
  stream.wait_for(reducing_);
  leaving_.clear();
}

void ParameterShards::reduce(const Reduction& reduction) {
  const Stream stream = reducing_;
  if (reduction.is_partial) {
    const auto& [range, unit, copies] = partial_[reduction.index];
    return copies.all_reduce(whole_gradients(range, unit), ReduceOp::kSum, stream);
  }
  const Bucket& bucket = buckets_[reduction.index];
  const Tensor whole = whole_gradients(bucket.range, bucket.unit);
  if (zero_stage_ == 0) return data_.all_reduce(whole, ReduceOp::kSum, stream);
  const Shard& own = shards_[bucket.own];
  const std::int64_t begin = own.range.begin - bucket.range.begin;
  const Tensor sum = whole.slice(begin, begin + numel_of(own.range));
  data_.reduce_scatter(whole, sum, stream);
  if (zero_stage_ >= 2) kernels::add_to(sum, own.gradients, stream);
}

Tensor ParameterShards::whole_gradients(const FlatRange& range, std::size_t unit) const {
  const FlatGroup& group = store_.groups()[range.group];
  if (group.gradients) return view_of(group.gradients, range);
  const FlatGroup::Unit& place = group.units[unit];
  CHECK(place.gradients) << "gradients of unit " << place.unit << " are reduced, but were not opened";
  return place.gradients.slice(range.begin - place.begin, range.end - place.begin);
}

void ParameterShards::gather_bucket(std::size_t bucket, Stream stream) {
  if (zero_stage_ == 0 || zero_stage_ == 3) return;
  Bucket& gathered = buckets_[bucket];
  const Stream gathers = gathering_;
  gathers.wait_for(stream);
  data_.all_gather(shards_[gathered.own].values, view_of(store_.groups()[gathered.range.group].values, gathered.range),
                   gathers);
  gathered.gathered = true;
}

void ParameterShards::gather_values(Stream stream) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (!buckets_[i].gathered) gather_bucket(i, stream);
    buckets_[i].gathered = false;
  }
  stream.wait_for(gathering_);
  drop_values({}, {});
}

void ParameterShards::read_units(std::span<const int> units, std::span<const int> next, Stream stream) {
  if (zero_stage_ < 3) return;
  stream.wait_for(gathering_);
  drop_values(units, next);
  for (const int unit : units) gather_unit(unit, stream);
  stream.wait_for(gathering_);
  for (const int unit : next) gather_unit(unit, stream);
}

void ParameterShards::drop_values(std::span<const int> but_of, std::span<const int> and_of) {
  if (store_.whole().values) return;
  const auto among = [](std::span<const int> units, int unit) { return std::ranges::find(units, unit) != units.end(); };
  for (std::size_t group = 0; group < store_.groups().size(); ++group) {
    const auto& units = store_.groups()[group].units;
    for (std::size_t place = 0; place < units.size(); ++place) {
      const auto& [number, begin, end, values, gradients] = units[place];
      if (values && !among(but_of, number) && !among(and_of, number)) store_.lend_values(group, place, {});
    }
  }
}

void ParameterShards::gather_unit(int unit, Stream stream) {
  const Stream gathers = gathering_;
  for_each_place(unit, [&](std::size_t group, std::size_t place) {
    const FlatGroup& flat = store_.groups()[group];
    const auto& [number, begin, end, values, gradients] = flat.units[place];
    if (values) return;
    store_.lend_values(group, place, Tensor::empty({end - begin}, flat.dtype, store_.device()));
    gathers.wait_for(stream);
    for (const Bucket& bucket : buckets_) {
      if (bucket.range.group != group || bucket.unit != place) continue;
      data_.all_gather(shards_[bucket.own].values, values.slice(bucket.range.begin - begin, bucket.range.end - begin),
                       gathers);
    }
  });
}

}  // namespace mudelta
