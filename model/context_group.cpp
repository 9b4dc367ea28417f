#include "model/context_group.h"

#include "kernels/gated_delta_rule/row_parts.h"
#include "kernels/short_conv_halo.h"

namespace mudelta {
namespace {

PartStates views_of(const Tensor& all, const Shape& states, const Shape& transitions) {
  return {all, all.flat_view(0, states), all.flat_view(states.numel(), transitions)};
}

std::int64_t channels_of(std::span<const Tensor> tensors) {
  std::int64_t channels = 0;
  for (const Tensor& tensor : tensors) channels += tensor.size(-1);
  return channels;
}

// body(tensor, its first channel among those of all)
template <class Body>
void for_each_channels(std::span<const Tensor> tensors, const Body& body) {
  std::int64_t first = 0;
  for (const Tensor& tensor : tensors) {
    body(tensor, first);
    first += tensor.size(-1);
  }
}

}  // namespace

PartStates PartStates::zeros(std::int64_t parts, std::int64_t heads, std::int64_t key_dim, std::int64_t value_dim,
                             Device device) {
  const Shape states{parts, heads, key_dim, value_dim}, transitions{parts, heads, key_dim, key_dim};
  return views_of(Tensor::zeros({states.numel() + transitions.numel()}, DType::kFloat32, device), states, transitions);
}

Tensor ContextGroup::states_before(const PartStates& own, Stream stream) const {
  const std::vector<PartStates> parts = gather(own, stream);
  if (is_first()) return Tensor::zeros(own.states.shape(), DType::kFloat32, own.states.device());
  for (std::size_t r = 1; r < static_cast<std::size_t>(rank()); ++r) {
    kernels::add_carried_states(parts[r].transitions, false, parts[r - 1].states, parts[r].states, stream);
  }
  return parts[static_cast<std::size_t>(rank()) - 1].states.clone();  // without the others in memory
}

Tensor ContextGroup::dstates_after(const PartStates& own, Stream stream) const {
  const std::vector<PartStates> parts = gather(own, stream);
  if (is_last()) return Tensor::zeros(own.states.shape(), DType::kFloat32, own.states.device());
  const auto next = static_cast<std::size_t>(rank()) + 1;
  for (std::size_t r = parts.size() - 2; r >= next; --r) {
    kernels::add_carried_states(parts[r].transitions, true, parts[r + 1].states, parts[r].states, stream);
  }
  return parts[next].states.clone();
}

std::vector<Tensor> ContextGroup::rows_before(std::span<const Tensor> xs, const Tensor& edges, std::int64_t sequences,
                                              std::int64_t taps, Stream stream) const {
  std::vector<Tensor> before(xs.size());
  if (taps == 1) return before;
  const std::int64_t parts = edges.size(0);
  const kernels::PartPlace place{.rank = rank(), .length = xs[0].size(0) / parts};
  const Tensor tails = Tensor::empty({parts, place.tail_rows(taps), channels_of(xs)}, xs[0].dtype(), xs[0].device());
  for_each_channels(xs, [&](const Tensor& x, std::int64_t first) { kernels::take_tails(x, first, tails, stream); });
  const Tensor all = gather(tails, stream);
  auto next = before.begin();
  for_each_channels(xs, [&](const Tensor& x, std::int64_t first) {
    *next = Tensor::empty({sequences, taps - 1, x.size(1)}, DType::kFloat32, x.device());
    kernels::initial_state_from_tails(all, first, edges, place, *next++, stream);
  });
  return before;
}

void ContextGroup::add_row_gradients(std::span<const Tensor> dbefore, const Tensor& edges, std::span<const Tensor> dxs,
                                     Stream stream) const {
  if (!dbefore[0]) return;  // a tap
  const std::int64_t parts = edges.size(0);
  const kernels::PartPlace place{.rank = rank(), .length = dxs[0].size(0) / parts};
  const Tensor heads =
      Tensor::empty({parts, dbefore[0].size(1), channels_of(dbefore)}, DType::kFloat32, dxs[0].device());
  for_each_channels(dbefore, [&](const Tensor& d, std::int64_t first) {
    kernels::take_head_gradients(d, first, edges, heads, stream);
  });
  const Tensor all = gather(heads, stream);
  for_each_channels(
      dxs, [&](const Tensor& dx, std::int64_t first) { kernels::add_head_gradients(all, first, place, dx, stream); });
}

Tensor ContextGroup::gather(const Tensor& own, Stream stream) const {
  const Tensor all = Tensor::empty({size() * own.numel()}, own.dtype(), own.device());
  ranks_.all_gather(own, all, stream);
  std::vector<std::int64_t> sizes{size()};
  sizes.insert(sizes.end(), own.shape().sizes().begin(), own.shape().sizes().end());
  return all.view(Shape(std::span<const std::int64_t>(sizes)));
}

std::vector<PartStates> ContextGroup::gather(const PartStates& own, Stream stream) const {
  const Tensor all = gather(own.all, stream);
  std::vector<PartStates> parts;
  for (int r = 0; r < size(); ++r) {
    parts.push_back(views_of(all.slice(r, r + 1).view(own.all.shape()), own.states.shape(), own.transitions.shape()));
  }
  return parts;
}

}  // namespace mudelta
