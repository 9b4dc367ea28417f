#include "launch/train/whole_parameters.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace mudelta {
namespace {

// `part_of`: the tensor of a segment, whose elements are its own.
std::vector<Tensor> put_together(const ParameterStore& store, std::span<const OptimizerSegment> segments,
                                 const ProcessGroup& world,
                                 const std::function<Tensor(const OptimizerSegment&)>& part_of) {
  std::vector<Tensor> whole;
  for (const Parameter& parameter : store.parameters()) {
    whole.push_back(Tensor::empty(parameter.spec.shape));
    std::ranges::fill(whole.back().span<float>(), -std::numeric_limits<float>::infinity());
  }
  for (const OptimizerSegment& segment : segments) {
    const Tensor part = part_of(segment).to(Device());
    store.parameters()[segment.parameter].slice_map().for_each_run(
        segment.begin, segment.begin + segment.numel, [&](const SliceRun& run) {
          whole[segment.parameter]
              .flat_view(run.whole, {run.numel})
              .copy_from(part.flat_view(run.local - segment.begin, {run.numel}));
        });
  }
  // However many ranks own an element, they have the same value of it.
  for (const Tensor& tensor : whole) world.all_reduce(tensor, ReduceOp::kMax, Stream());
  return whole;
}

}  // namespace

std::vector<Tensor> whole_weights(const ParameterStore& store, std::span<const OptimizerSegment> segments,
                                  const ProcessGroup& world) {
  return put_together(store, segments, world, [](const OptimizerSegment& segment) { return segment.state[0].second; });
}

std::vector<Tensor> whole_gradients(const ParameterStore& store, std::span<const OptimizerSegment> segments,
                                    const ProcessGroup& world) {
  return put_together(store, segments, world, [](const OptimizerSegment& segment) { return segment.gradient; });
}

}  // namespace mudelta
