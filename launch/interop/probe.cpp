#include "launch/interop/probe.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/stored_model.h"

namespace mudelta {
namespace {

std::vector<std::int32_t> probe_text(std::int64_t tokens, std::int64_t vocab) {
  const CounterRng rng(1, "probe");
  std::vector<std::int32_t> text;
  for (std::int64_t i = 0; i < tokens; ++i) {
    text.push_back(
        static_cast<std::int32_t>(rng.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(vocab)));
  }
  return text;
}

}  // namespace

Tensor probe_logits(const WeightSource& weights, double o_norm_eps, DType compute_dtype, std::int64_t tokens,
                    std::string_view option) {
  RunConfig config = weights.config();
  config.mutable_model()->set_o_norm_eps(o_norm_eps);
  config.mutable_model()->clear_query_scale();
  config.mutable_train()->set_compute_dtype(compute_dtype == DType::kBFloat16 ? TrainConfig::BFLOAT16
                                                                              : TrainConfig::FLOAT32);
  config.clear_parallel();
  require_memory(estimate_inference_memory(config, tokens, Device()), config.model(),
                 fmt::format("{} is {}", option, tokens), 1, Device());

  StoredModel stored(config, weights.forward_multipliers(), kForInference);
  for (const Parameter& parameter : stored.store.parameters()) {
    const Tensor value = Tensor::empty(parameter.value.shape());
    read_finite(weights, parameter, 0, value.span<float>());
    parameter.value.copy_from(value.to(parameter.value.dtype()));
  }
  const std::vector<std::int32_t> text = probe_text(tokens, config.model().vocab_size());
  const std::int32_t ends[] = {0, static_cast<std::int32_t>(tokens)};
  const Tensor logits = stored.model.logits({Tensor::from(text, {tokens}), Tensor::from(ends, {2})}, nullptr, Stream());
  require(std::ranges::all_of(logits.span<float>(), [](float x) { return std::isfinite(x); }),
          "{}: the logits are not all finite numbers", weights.folder().string());
  return logits;
}

double largest(const Tensor& a) { return largest_difference(a, Tensor::zeros(a.shape())); }

double largest_difference(const Tensor& a, const Tensor& b) {
  double found = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    found =
        std::max(found, std::abs(static_cast<double>(a.data<float>()[i]) - static_cast<double>(b.data<float>()[i])));
  }
  return found;
}

}  // namespace mudelta
