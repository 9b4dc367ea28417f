#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/gemm.h"
#include "core/gemm_workspace.h"
#include "kernels/check.h"
#include "kernels/cross_entropy_blocks.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cross_entropy.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

struct Softmax {
  float max;   // of the scaled logits
  double sum;  // of e^(scaled logit - max)
};

// Of the logits times `multiplier`.
float max_of_row(const float* logits, std::int64_t vocab, float multiplier) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const auto factor = broadcast(multiplier);
  FloatVec highest = broadcast(kLowest);
  for_each_vector(vocab, [&](std::int64_t i, auto lanes) {
    highest = hn::Max(highest, fill_others(hn::Mul(load(logits + i, lanes), factor), kLowest, lanes));
  });
  return hn::GetLane(hn::MaxOfLanes(kFloatTag, highest));
}

// The sum of e^(logit x multiplier - max); with kKeep these replace the logits.
template <bool kKeep>
double exponentials_of_row(float* logits, std::int64_t vocab, float multiplier, float max) {
  constexpr std::int64_t kRun = 1024;  // float32 sums stay this short
  const auto factor = broadcast(multiplier);
  double sum = 0;
  for (std::int64_t start = 0; start < vocab; start += kRun) {
    FloatVec run_sum = hn::Zero(kFloatTag);
    float* run = logits + start;
    for_each_vector(std::min(kRun, vocab - start), [&](std::int64_t i, auto lanes) {
      const auto e = exp(hn::MulSub(load(run + i, lanes), factor, broadcast(max)));
      if constexpr (kKeep) store(e, run + i, lanes);
      run_sum = hn::Add(run_sum, fill_others(e, 0, lanes));
    });
    sum += sum_of_lanes(run_sum);
  }
  return sum;
}

template <bool kKeep>
Softmax softmax_row(float* logits, std::int64_t vocab, float multiplier) {
  const float max = max_of_row(logits, vocab, multiplier);
  return {max, exponentials_of_row<kKeep>(logits, vocab, multiplier, max)};
}

float loss_of(const Softmax& softmax, float target_logit) {
  return static_cast<float>(std::log(softmax.sum) + softmax.max - target_logit);
}

void losses_of_block(const Tensor& logits, const Tensor& targets, float multiplier, const Tensor& losses) {
  const std::int64_t vocab = logits.size(1);
  float *rows = logits.data<float>(), *loss = losses.data<float>();
  const std::int32_t* target = targets.data<std::int32_t>();
  parallel_for(logits.size(0), [=](std::int64_t t) {
    float* row = rows + t * vocab;
    loss[t] = target[t] < 0 ? 0.0f : loss_of(softmax_row<false>(row, vocab, multiplier), multiplier * row[target[t]]);
  });
}

// Returns the loss and writes drow = scale (softmax - one-hot of target). drow may be the row itself, whose content is
// lost in any case.
template <class T>
float gradient_row(float* row, std::int64_t vocab, std::int32_t target, float multiplier, float scale, T* drow) {
  if (target < 0) {
    std::fill_n(drow, vocab, T(0.0f));
    return 0;
  }
  const float target_logit = multiplier * row[target];
  const Softmax softmax = softmax_row<true>(row, vocab, multiplier);
  const float factor = static_cast<float>(scale / softmax.sum);
  const float dtarget = row[target] * factor - scale;
  for_each_vector(vocab, [=](std::int64_t i, auto lanes) {
    store(hn::Mul(load(row + i, lanes), broadcast(factor)), drow + i, lanes);
  });
  drow[target] = T(dtarget);
  return loss_of(softmax, target_logit);
}

// As losses_of_block, and dlogits (=), the gradients of gradient_scale * sum(losses) with respect to the logits as they
// come, without `multiplier`. dlogits may be the logits; their content is lost in any case.
void gradients_of_block(const Tensor& logits, const Tensor& targets, float multiplier, float gradient_scale,
                        const Tensor& losses, const Tensor& dlogits) {
  const std::int64_t vocab = logits.size(1);
  float *rows = logits.data<float>(), *loss = losses.data<float>();
  const std::int32_t* target = targets.data<std::int32_t>();
  dispatch_float(dlogits.dtype(), [&]<class T>() {
    T* drows = dlogits.data<T>();
    parallel_for(logits.size(0), [=](std::int64_t t) {
      loss[t] =
          gradient_row(rows + t * vocab, vocab, target[t], multiplier, gradient_scale * multiplier, drows + t * vocab);
    });
  });
}

// The softmax of rows that are cut over parts of the vocabulary, in three steps between which the parts' owners join
// what they have.

// maxima[t] (=) of the scaled logits of row t.
void maxima_of_block(const Tensor& logits, float multiplier, const Tensor& maxima) {
  const std::int64_t rows = logits.size(1);
  const float* row = logits.data<float>();
  float* max = maxima.data<float>();
  parallel_for(logits.size(0), [=](std::int64_t t) { max[t] = max_of_row(row + t * rows, rows, multiplier); });
}

// Replaces the logits by e^(scaled logit - max). sums [tokens, 2] (=): their sum, and the scaled logit of the target, 0
// if another part has it.
void exponentials_of_block(const Tensor& logits, const Tensor& targets, std::int64_t first_token, float multiplier,
                           const Tensor& maxima, const Tensor& sums) {
  const std::int64_t rows = logits.size(1);
  float *row = logits.data<float>(), *sum = sums.data<float>();
  const float* max = maxima.data<float>();
  const std::int32_t* target = targets.data<std::int32_t>();
  parallel_for(logits.size(0), [=](std::int64_t t) {
    const std::int64_t local = target[t] - first_token;
    sum[2 * t + 1] = local >= 0 && local < rows && target[t] >= 0 ? multiplier * row[t * rows + local] : 0.0f;
    sum[2 * t] = static_cast<float>(exponentials_of_row<true>(row + t * rows, rows, multiplier, max[t]));
  });
}

// losses (=) from the joined maxima and sums; and, unless it is undefined, dlogits (=) as gradients_of_block.
void finish_block(const Tensor& exponentials, const Tensor& targets, std::int64_t first_token, float scale,
                  const Tensor& maxima, const Tensor& sums, const Tensor& losses, const Tensor& dlogits) {
  const std::int64_t rows = exponentials.size(1);
  float* loss = losses.data<float>();
  const float *max = maxima.data<float>(), *sum = sums.data<float>(), *row = exponentials.data<float>();
  const std::int32_t* target = targets.data<std::int32_t>();
  parallel_for(losses.numel(), [=](std::int64_t t) {
    loss[t] = target[t] < 0 ? 0.0f : loss_of({max[t], sum[2 * t]}, sum[2 * t + 1]);
  });
  if (!dlogits) return;
  dispatch_float(dlogits.dtype(), [&]<class T>() {
    T* drows = dlogits.data<T>();
    parallel_for(losses.numel(), [=](std::int64_t t) {
      const std::int64_t local = target[t] - first_token;
      const float factor = target[t] < 0 ? 0.0f : scale / sum[2 * t];
      const float* from = row + t * rows;
      T* to = drows + t * rows;
      const bool is_here = target[t] >= 0 && local >= 0 && local < rows;
      const float dtarget = is_here ? from[local] * factor - scale : 0.0f;
      for_each_vector(rows, [=](std::int64_t i, auto lanes) {
        store(hn::Mul(load(from + i, lanes), broadcast(factor)), to + i, lanes);
      });
      if (is_here) to[local] = T(dtarget);
    });
  });
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(losses_of_block);
HWY_EXPORT(gradients_of_block);
HWY_EXPORT(maxima_of_block);
HWY_EXPORT(exponentials_of_block);
HWY_EXPORT(finish_block);

void check_inputs(std::string_view op, const CrossEntropyInputs& inputs, const Tensor& losses) {
  expect_floating_matrix(op, "hidden", inputs.hidden, "[tokens, width]");
  const std::int64_t tokens = inputs.hidden.size(0), width = inputs.hidden.size(1);
  expect_floating_matrix(op, "weight", inputs.weight, "[vocab, width]");
  const std::int64_t rows = inputs.weight.size(0);
  expect_tensor(op, "weight", inputs.weight, {rows, width}, inputs.hidden.dtype());
  expect_part(op, inputs.part, rows);
  expect_indices(op, "targets", inputs.targets, tokens, -1, vocab_of(inputs.part, rows));
  expect_tensor(op, "losses", losses, {tokens}, DType::kFloat32);
}

// One block of a part of the vocabulary; dlogits may be undefined.
void joined_block(const CrossEntropyInputs& inputs, const Tensor& logits, const Tensor& targets, float gradient_scale,
                  const Tensor& losses, const Tensor& dlogits, Stream stream) {
  const Tensor maxima = Tensor::empty({logits.size(0)}), sums = Tensor::empty({logits.size(0), 2});
  HWY_DYNAMIC_DISPATCH(maxima_of_block)(logits, inputs.logit_multiplier, maxima);
  inputs.over_parts.max(maxima, stream);
  HWY_DYNAMIC_DISPATCH(exponentials_of_block)
  (logits, targets, inputs.part.begin, inputs.logit_multiplier, maxima, sums);
  inputs.over_parts.sum(sums, stream);
  HWY_DYNAMIC_DISPATCH(finish_block)
  (logits, targets, inputs.part.begin, gradient_scale * inputs.logit_multiplier, maxima, sums, losses, dlogits);
}

}  // namespace

void cross_entropy_forward(const CrossEntropyInputs& inputs, const Tensor& losses, Stream stream) {
  check_inputs("cross_entropy_forward", inputs, losses);
  if (losses.device().is_cuda()) return cuda_twin<cross_entropy_forward>()(inputs, losses, stream);
  for_each_block(inputs, stream, [&](std::int64_t begin, std::int64_t end, const Tensor& logits) {
    const Tensor targets = inputs.targets.slice(begin, end), block_losses = losses.slice(begin, end);
    if (!is_whole(inputs)) return joined_block(inputs, logits, targets, 0, block_losses, {}, stream);
    HWY_DYNAMIC_DISPATCH(losses_of_block)(logits, targets, inputs.logit_multiplier, block_losses);
  });
}

void cross_entropy_forward_backward(const CrossEntropyInputs& inputs, float gradient_scale, const Tensor& losses,
                                    const Tensor& dhidden, const Tensor& dweight, Stream stream) {
  constexpr auto kOp = "cross_entropy_forward_backward";
  check_inputs(kOp, inputs, losses);
  const DType dtype = inputs.hidden.dtype();
  expect_tensor(kOp, "dhidden", dhidden, inputs.hidden.shape(), dtype);
  expect_tensor(kOp, "dweight", dweight, inputs.weight.shape(), DType::kFloat32);
  if (losses.device().is_cuda()) {
    return cuda_twin<cross_entropy_forward_backward>()(inputs, gradient_scale, losses, dhidden, dweight, stream);
  }
  for_each_block(inputs, stream, [&](std::int64_t begin, std::int64_t end, const Tensor& logits) {
    const Tensor dlogits = dtype == DType::kFloat32 ? logits : Tensor::empty(logits.shape(), dtype);
    const Tensor targets = inputs.targets.slice(begin, end), block_losses = losses.slice(begin, end);
    if (is_whole(inputs)) {
      HWY_DYNAMIC_DISPATCH(gradients_of_block)
      (logits, targets, inputs.logit_multiplier, gradient_scale, block_losses, dlogits);
    } else {
      joined_block(inputs, logits, targets, gradient_scale, block_losses, dlogits, stream);
    }
    gemm(dlogits, inputs.weight, dhidden.slice(begin, end), {}, stream);
    gemm(dlogits, inputs.hidden.slice(begin, end), dweight, {.transpose_a = true, .accumulate = true}, stream);
  });
}

LiveTensors cross_entropy_workspace(std::int64_t tokens, std::int64_t vocab, std::int64_t rows, std::int64_t width,
                                    DType dtype, Device device) {
  const std::int64_t step = block_tokens(tokens, vocab, device);
  LiveTensors live;
  live.add({step, rows}, DType::kFloat32);
  const LiveTensors product = gemm_workspace(step, rows, width, dtype, DType::kFloat32, device);
  LiveTensors dlogits;
  if (dtype != DType::kFloat32) dlogits.add({step, rows}, dtype);
  return live + larger(product, dlogits + linear_backward_workspace(step, width, rows, dtype, dtype, device));
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
