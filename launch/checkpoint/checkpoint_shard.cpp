#include "launch/checkpoint/checkpoint_shard.h"

#include <glog/logging.h>

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/checksum.h"
#include "core/gpu.h"
#include "launch/checkpoint/safetensors.h"

namespace mudelta {
namespace {

// A whole parameter's weight bears the parameter's name; "#exp_avg" marks other state, "@dim1[16:32]" a slice, "[5:70]"
// a run of elements of what stands before it.
std::string make_key(const Parameter& parameter, const std::string& state, const OptimizerSegment& segment) {
  const ParameterSlice& slice = parameter.part.slice;
  std::string key = parameter.spec.name;
  if (state != "weight") key += "#" + state;
  if (!slice.is_whole()) key += fmt::format("@dim{}[{}:{}]", slice.dim, slice.begin, slice.end);
  if (segment.numel != parameter.slice_map().numel()) {
    key += fmt::format("[{}:{}]", segment.begin, segment.begin + segment.numel);
  }
  return key;
}

CheckpointSegment describe(const Parameter& parameter, const std::string& state, const OptimizerSegment& segment) {
  CheckpointSegment stored;
  stored.set_parameter(parameter.spec.name);
  stored.set_state(state);
  stored.set_begin(segment.begin);
  stored.set_numel(segment.numel);
  stored.set_key(make_key(parameter, state, segment));
  if (const ParameterSlice& slice = parameter.part.slice; !slice.is_whole()) {
    stored.set_slice_dim(slice.dim);
    stored.set_slice_begin(slice.begin);
    stored.set_slice_end(slice.end);
  }
  return stored;
}

}  // namespace

std::int64_t CheckpointShard::num_bytes() const {
  std::int64_t sum = 0;
  for (const Tensor& tensor : tensors) sum += tensor.num_bytes();
  return sum;
}

CheckpointShard live_shard(const ParameterStore& store, std::span<const OptimizerSegment> segments, int rank,
                           int num_ranks) {
  CheckpointShard shard;
  shard.file.set_name(fmt::format("shard-{:05}-of-{:05}.safetensors", rank, num_ranks));
  for (const OptimizerSegment& segment : segments) {
    const Parameter& parameter = store.parameters()[segment.parameter];
    if (!segment.is_own || parameter.part.copy != 0) continue;
    const bool is_whole = segment.numel == parameter.slice_map().numel();
    for (const auto& [state, live] : segment.state) {
      CHECK_EQ(live.numel(), segment.numel) << parameter.spec.name << " " << state;
      *shard.file.add_segments() = describe(parameter, state, segment);
      shard.tensors.push_back(live.view(is_whole ? parameter.local_shape() : Shape{segment.numel}));
    }
  }
  return shard;
}

ShardSnapshot::ShardSnapshot(const CheckpointShard& shard) {
  for (const Tensor& live : shard.tensors) {
    const Device memory = live.device().is_cuda() ? Device{DeviceType::kPinned} : Device();
    copies_.push_back(Tensor::zeros(live.shape(), live.dtype(), memory));
  }
}

CheckpointShard ShardSnapshot::take(const CheckpointShard& shard) const {
  CHECK_EQ(shard.tensors.size(), copies_.size());
  const auto size = static_cast<std::int64_t>(copies_.size());
  const bool is_on_gpu = size > 0 && shard.tensors.front().device().is_cuda();
  if (is_on_gpu) {
    for (std::int64_t i = 0; i < size; ++i) copies_[i].queue_copy_from(shard.tensors[i]);
    gpu::synchronize(gpu::compute_stream());
  } else {
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t i = 0; i < size; ++i) copies_[i].copy_from(shard.tensors[i]);
  }
  return {.file = shard.file, .tensors = copies_};
}

CheckpointFile write_shard(const std::filesystem::path& folder, const CheckpointShard& shard) {
  CheckpointFile file = shard.file;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (std::size_t i = 0; i < shard.tensors.size(); ++i) {
    CheckpointSegment& segment = *file.mutable_segments(static_cast<int>(i));
    tensors.emplace_back(segment.key(), shard.tensors[i].to(Device()));
    segment.set_xxh64(xxh64_of(std::as_bytes(tensors.back().second.span<float>())));
  }
  file.set_num_bytes(write_safetensors(folder / file.name(), tensors, {{"format", "pt"}}));
  return file;
}

}  // namespace mudelta
