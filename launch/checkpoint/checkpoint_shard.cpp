#include "launch/checkpoint/checkpoint_shard.h"

#include <glog/logging.h>

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/checksum.h"
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
  if (segment.numel != parameter.value.numel()) {
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

CheckpointFile write_checkpoint_shard(const std::filesystem::path& folder, const ParameterStore& store,
                                      std::span<const OptimizerSegment> segments, int rank, int num_ranks) {
  CheckpointFile file;
  file.set_name(fmt::format("shard-{:05}-of-{:05}.safetensors", rank, num_ranks));
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const OptimizerSegment& segment : segments) {
    const Parameter& parameter = store.parameters()[segment.parameter];
    if (parameter.part.copy != 0) continue;
    const bool is_whole = segment.numel == parameter.value.numel();
    for (const auto& [state, live] : segment.state) {
      CHECK_EQ(live.numel(), segment.numel) << parameter.spec.name << " " << state;
      const Tensor tensor = live.to(Device());
      CheckpointSegment& stored = *file.add_segments();
      stored = describe(parameter, state, segment);
      stored.set_xxh64(xxh64_of(std::as_bytes(tensor.span<float>())));
      tensors.emplace_back(stored.key(), tensor.view(is_whole ? parameter.value.shape() : Shape{segment.numel}));
    }
  }
  file.set_num_bytes(write_safetensors(folder / file.name(), tensors, {{"format", "pt"}}));
  return file;
}

}  // namespace mudelta
