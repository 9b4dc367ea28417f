#include <algorithm>
#include <limits>
#include <type_traits>

#include "core/gemm.h"
#include "kernels/check.h"
#include "kernels/cross_entropy_blocks.h"
#include "kernels/cuda/vector_io.h"

namespace mudelta::kernels::cuda {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// What is subtracted from logits of this maximum: without elements, the difference would be no number.
__device__ __forceinline__ float origin_of(float max) { return max == kLowest ? 0.0f : max; }

constexpr int kSumThreads = 256;

struct Softmax {
  float max;  // of the scaled logits
  float sum;  // of e^(scaled logit - max)

  // Of the elements of both. NaN stays in the sum.
  __device__ __forceinline__ void join(float other_max, float other_sum) {
    const float joint_max = fmaxf(max, other_max), origin = origin_of(joint_max);
    sum = sum * expf(max - origin) + other_sum * expf(other_max - origin);
    max = joint_max;
  }
};

// Of a row, whose runs are whole if kWhole, on all kThreads threads of the block. `room` is shared memory [2, warps].
template <int kThreads, bool kWhole>
__device__ Softmax softmax_of_row(const float* row, std::int64_t vocab, float multiplier, float* room) {
  constexpr int kWarps = kThreads / kWarpSize;
  Softmax softmax{kLowest, 0};
  for (std::int64_t i = threadIdx.x * kRun; i < vocab; i += kThreads * kRun) {
    float logits[kRun], run_max = kLowest, run_sum = 0;
    load(row + i, run_of<kWhole>(vocab - i), logits);
    for (int k = 0; k < kRun; ++k) {
      logits[k] = kWhole || i + k < vocab ? logits[k] * multiplier : kLowest;
      run_max = fmaxf(run_max, logits[k]);
    }
    for (const float logit : logits) run_sum += expf(logit - origin_of(run_max));
    softmax.join(run_max, run_sum);
  }
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float max = __shfl_xor_sync(kAllLanes, softmax.max, offset);
    const float sum = __shfl_xor_sync(kAllLanes, softmax.sum, offset);
    softmax.join(max, sum);
  }
  if (lane_index() == 0) room[warp_index()] = softmax.max, room[kWarps + warp_index()] = softmax.sum;
  __syncthreads();
  softmax = {room[0], room[kWarps]};
  for (int warp = 1; warp < kWarps; ++warp) softmax.join(room[warp], room[kWarps + warp]);
  return softmax;
}

// Both terms are at least 0, so that nothing cancels. The difference is clamped, since the compiler may compute it with
// the target's scaled logit unrounded; NaN stays NaN.
__device__ float loss_of(const Softmax& softmax, float target_logit) {
  const float gap = softmax.max - target_logit;
  return (gap < 0.0f ? 0.0f : gap) + logf(softmax.sum);
}

template <int kThreads, bool kWhole>
__global__ void __launch_bounds__(kThreads) losses_kernel(const float* logits, const std::int32_t* targets,
                                                          std::int64_t vocab, float multiplier, float* losses) {
  const std::int64_t t = blockIdx.x;
  const std::int32_t target = targets[t];
  if (target < 0) {
    if (threadIdx.x == 0) losses[t] = 0;
    return;
  }
  const float* row = logits + t * vocab;
  const Softmax softmax = softmax_of_row<kThreads, kWhole>(row, vocab, multiplier, dynamic_shared<float>());
  if (threadIdx.x == 0) losses[t] = loss_of(softmax, multiplier * row[target]);
}

// dlogits = scale (softmax - one-hot of target); may be the logits.
template <int kThreads, bool kWhole, class T>
__global__ void __launch_bounds__(kThreads)
    gradients_kernel(const float* logits, const std::int32_t* targets, std::int64_t vocab, float multiplier,
                     float scale, float* losses, T* dlogits) {
  const std::int64_t t = blockIdx.x;
  const std::int32_t target = targets[t];
  const float* row = logits + t * vocab;
  T* drow = dlogits + t * vocab;
  Softmax softmax{0, 1};
  float factor = 0;
  if (target >= 0) {
    const float target_logit = multiplier * row[target];  // before any thread overwrites it
    softmax = softmax_of_row<kThreads, kWhole>(row, vocab, multiplier, dynamic_shared<float>());
    factor = scale / softmax.sum;
    if (threadIdx.x == 0) losses[t] = loss_of(softmax, target_logit);
  } else if (threadIdx.x == 0) {
    losses[t] = 0;
  }
  for (std::int64_t i = threadIdx.x * kRun; i < vocab; i += kThreads * kRun) {
    float values[kRun] = {};
    if (target >= 0) {
      load(row + i, run_of<kWhole>(vocab - i), values);
      for (int k = 0; k < kRun; ++k) {
        values[k] = expf(values[k] * multiplier - softmax.max) * factor - (i + k == target ? scale : 0.0f);
      }
    }
    store(values, drow + i, run_of<kWhole>(vocab - i));
  }
}

// Of a part of the vocabulary: maxima[t] of the scaled logits, sums[t] = (sum of e^(scaled logit - maximum), the scaled
// logit of the target, 0 if another part has it).
template <int kThreads, bool kWhole>
__global__ void __launch_bounds__(kThreads)
    statistics_kernel(const float* logits, const std::int32_t* targets, std::int64_t first_token, std::int64_t rows,
                      float multiplier, float* maxima, float* sums) {
  const std::int64_t t = blockIdx.x, target = targets[t], local = target - first_token;
  const float* row = logits + t * rows;
  const Softmax softmax = softmax_of_row<kThreads, kWhole>(row, rows, multiplier, dynamic_shared<float>());
  if (threadIdx.x > 0) return;
  maxima[t] = softmax.max;
  sums[2 * t] = softmax.sum;
  sums[2 * t + 1] = target >= 0 && local >= 0 && local < rows ? multiplier * row[local] : 0.0f;
}

// Sums of e^(scaled logit - own maximum) become those with the joint maximum.
__global__ void __launch_bounds__(kSumThreads)
    rescale_kernel(const float* own_maxima, const float* maxima, std::int64_t n, float* sums) {
  const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
  if (t < n) sums[2 * t] *= expf(own_maxima[t] - origin_of(maxima[t]));
}

__global__ void __launch_bounds__(kSumThreads)
    joined_losses_kernel(const float* maxima, const float* sums, const std::int32_t* targets, std::int64_t n,
                         float* losses) {
  const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
  if (t < n) losses[t] = targets[t] < 0 ? 0.0f : loss_of({maxima[t], sums[2 * t]}, sums[2 * t + 1]);
}

// As gradients_kernel, with the joined maxima and sums.
template <int kThreads, bool kWhole, class T>
__global__ void __launch_bounds__(kThreads)
    joined_gradients_kernel(const float* logits, const std::int32_t* targets, std::int64_t first_token,
                            std::int64_t rows, float multiplier, float scale, const float* maxima, const float* sums,
                            T* dlogits) {
  const std::int64_t t = blockIdx.x, target = targets[t], local = target - first_token;
  const float max = maxima[t], factor = scale / sums[2 * t];
  for (std::int64_t i = threadIdx.x * kRun; i < rows; i += kThreads * kRun) {
    float values[kRun] = {};
    if (target >= 0) {
      load(logits + t * rows + i, run_of<kWhole>(rows - i), values);
      for (int k = 0; k < kRun; ++k) {
        values[k] = expf(values[k] * multiplier - max) * factor - (i + k == local ? scale : 0.0f);
      }
    }
    store(values, dlogits + t * rows + i, run_of<kWhole>(rows - i));
  }
}

// f(std::integral_constant<int, kThreads>, std::bool_constant<kWhole>) with the threads for a row: many for a long one,
// so that few rows are under way and the second pass over one finds it in the L2 cache. Logits and their gradients
// start where the allocator puts them, aligned.
template <class F>
void dispatch_row(std::int64_t vocab, const F& f) {
  dispatch_bool(vocab % kRun == 0, [&](auto whole) {
    if (vocab <= 8192) return f(std::integral_constant<int, 128>{}, whole);
    f(std::integral_constant<int, 1024>{}, whole);
  });
}

constexpr std::int64_t shared_bytes(int threads) { return 2 * threads / kWarpSize * sizeof(float); }

// One block of the whole vocabulary; dlogits may be the logits.
void gradients_of_block(const CrossEntropyInputs& inputs, const Tensor& logits, const Tensor& targets,
                        float gradient_scale, const Tensor& losses, const Tensor& dlogits, Stream stream) {
  dispatch_float(dlogits.dtype(), [&]<class T>() {
    dispatch_row(logits.size(1), [&](auto threads, auto whole) {
      constexpr int kThreads = decltype(threads)::value;
      constexpr bool kWhole = decltype(whole)::value;
      launch(gradients_kernel<kThreads, kWhole, T>, dim3(static_cast<unsigned>(logits.size(0))), kThreads,
             shared_bytes(kThreads), stream, logits.data<float>(), targets.data<std::int32_t>(), logits.size(1),
             inputs.logit_multiplier, gradient_scale * inputs.logit_multiplier, losses.data<float>(),
             dlogits.data<T>());
    });
  });
}

// One block of a part of the vocabulary; dlogits may be undefined, or the logits.
void joined_block(const CrossEntropyInputs& inputs, const Tensor& logits, const Tensor& targets, float gradient_scale,
                  const Tensor& losses, const Tensor& dlogits, Stream stream) {
  const std::int64_t n = logits.size(0), rows = logits.size(1);
  const auto blocks = dim3(static_cast<unsigned>(n)),
             sum_blocks = dim3(static_cast<unsigned>(divide_up(n, kSumThreads)));
  const auto* target = targets.data<std::int32_t>();
  const Tensor maxima = Tensor::empty({n}, DType::kFloat32, logits.device());
  const Tensor sums = Tensor::empty({n, 2}, DType::kFloat32, logits.device());
  dispatch_row(rows, [&](auto threads, auto whole) {
    constexpr int kThreads = decltype(threads)::value;
    constexpr bool kWhole = decltype(whole)::value;
    launch(statistics_kernel<kThreads, kWhole>, blocks, kThreads, shared_bytes(kThreads), stream, logits.data<float>(),
           target, inputs.part.begin, rows, inputs.logit_multiplier, maxima.data<float>(), sums.data<float>());
  });
  const Tensor own_maxima = maxima.clone();
  inputs.over_parts.max(maxima, stream);
  launch(rescale_kernel, sum_blocks, kSumThreads, 0, stream, own_maxima.data<float>(), maxima.data<float>(), n,
         sums.data<float>());
  inputs.over_parts.sum(sums, stream);
  launch(joined_losses_kernel, sum_blocks, kSumThreads, 0, stream, maxima.data<float>(), sums.data<float>(), target, n,
         losses.data<float>());
  if (!dlogits) return;
  dispatch_float(dlogits.dtype(), [&]<class T>() {
    dispatch_row(rows, [&](auto threads, auto whole) {
      constexpr int kThreads = decltype(threads)::value;
      constexpr bool kWhole = decltype(whole)::value;
      launch(joined_gradients_kernel<kThreads, kWhole, T>, blocks, kThreads, 0, stream, logits.data<float>(), target,
             inputs.part.begin, rows, inputs.logit_multiplier, gradient_scale * inputs.logit_multiplier,
             maxima.data<float>(), sums.data<float>(), dlogits.data<T>());
    });
  });
}

}  // namespace

void cross_entropy_forward(const CrossEntropyInputs& inputs, const Tensor& losses, Stream stream) {
  for_each_block(inputs, stream, [&](std::int64_t begin, std::int64_t end, const Tensor& logits) {
    if (!is_whole(inputs)) {
      return joined_block(inputs, logits, inputs.targets.slice(begin, end), 0, losses.slice(begin, end), {}, stream);
    }
    dispatch_row(logits.size(1), [&](auto threads, auto whole) {
      constexpr int kThreads = decltype(threads)::value;
      constexpr bool kWhole = decltype(whole)::value;
      launch(losses_kernel<kThreads, kWhole>, dim3(static_cast<unsigned>(end - begin)), kThreads,
             shared_bytes(kThreads), stream, logits.data<float>(),
             inputs.targets.slice(begin, end).data<std::int32_t>(), logits.size(1), inputs.logit_multiplier,
             losses.slice(begin, end).data<float>());
    });
  });
}

void cross_entropy_forward_backward(const CrossEntropyInputs& inputs, float gradient_scale, const Tensor& losses,
                                    const Tensor& dhidden, const Tensor& dweight, Stream stream) {
  const DType dtype = inputs.hidden.dtype();
  for_each_block(inputs, stream, [&](std::int64_t begin, std::int64_t end, const Tensor& logits) {
    const Tensor dlogits = dtype == DType::kFloat32 ? logits : Tensor::empty(logits.shape(), dtype, logits.device());
    if (is_whole(inputs)) {
      gradients_of_block(inputs, logits, inputs.targets.slice(begin, end), gradient_scale, losses.slice(begin, end),
                         dlogits, stream);
    } else {
      joined_block(inputs, logits, inputs.targets.slice(begin, end), gradient_scale, losses.slice(begin, end), dlogits,
                   stream);
    }
    gemm(dlogits, inputs.weight, dhidden.slice(begin, end), {}, stream);
    gemm(dlogits, inputs.hidden.slice(begin, end), dweight, {.transpose_a = true, .accumulate = true}, stream);
  });
}

}  // namespace mudelta::kernels::cuda
