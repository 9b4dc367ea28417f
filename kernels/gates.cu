#include "kernels/cuda/activations.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/gates.h"

namespace mudelta::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarpSize;
constexpr std::int64_t kBlockTokens = 128;

// A block's part of the [tokens, heads] arrays: kBlockTokens tokens of 32 heads, a head per lane, tokens spread over
// the warps.
struct GateTile {
  __device__ GateTile(std::int64_t tokens, std::int64_t num_heads)
      : heads(num_heads),
        block(blockIdx.x / divide_up(heads, kWarpSize)),
        head(blockIdx.x % divide_up(heads, kWarpSize) * kWarpSize + lane_index()),
        begin(block * kBlockTokens + warp_index()),
        end(head < heads ? min((block + 1) * kBlockTokens, tokens) : 0) {}

  static dim3 grid(std::int64_t tokens, std::int64_t heads) {
    return dim3(static_cast<unsigned>(divide_up(tokens, kBlockTokens) * divide_up(heads, kWarpSize)));
  }

  // body(i) for the elements of this thread.
  template <class Body>
  __device__ void for_each(const Body& body) const {
    for (std::int64_t t = begin; t < end; t += kWarps) body(t * heads + head);
  }

  std::int64_t heads, block, head, begin, end;
};

struct Operands {
  const float *z_a, *z_b, *a_log, *dt_bias;
  float beta_max;
  std::int64_t tokens, heads;
};

Operands operands_of(const GateInputs& inputs) {
  return {inputs.z_a.data<float>(), inputs.z_b.data<float>(), inputs.a_log.data<float>(), inputs.dt_bias.data<float>(),
          inputs.beta_max,          inputs.z_a.size(0),       inputs.z_a.size(1)};
}

__global__ void __launch_bounds__(kThreads) forward_kernel(Operands in, float* g, float* beta) {
  const GateTile tile(in.tokens, in.heads);
  if (tile.head >= in.heads) return;
  const float rate = -expf(in.a_log[tile.head]), bias = in.dt_bias[tile.head];
  tile.for_each([&](std::int64_t i) {
    g[i] = rate * softplus(in.z_a[i] + bias);
    beta[i] = in.beta_max * sigmoid(in.z_b[i]);
  });
}

// Over the warps of the block; valid in warp 0. `room` is shared memory [kThreads].
__device__ float sum_over_warps(float x, float* room) {
  room[threadIdx.x] = x;
  __syncthreads();
  for (int warp = 1; warp < kWarps; ++warp) x += room[warp * kWarpSize + lane_index()];
  return x;
}

// Partials: [blocks of tokens, heads].
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Operands in, const float* dg, const float* dbeta, float* dz_a, float* dz_b, float* a_log_partials,
                    float* dt_bias_partials) {
  const GateTile tile(in.tokens, in.heads);
  const bool has_head = tile.head < in.heads;
  const float rate = has_head ? -expf(in.a_log[tile.head]) : 0.0f, bias = has_head ? in.dt_bias[tile.head] : 0.0f;
  float da_log = 0, ddt_bias = 0;
  tile.for_each([&](std::int64_t i) {
    const float pre = in.z_a[i] + bias, ddt = dg[i] * rate, dpre = ddt * sigmoid(pre);
    da_log = fmaf(ddt, softplus(pre), da_log);
    ddt_bias += dpre;
    dz_a[i] = dpre;
    const float logit = in.z_b[i];
    dz_b[i] = dbeta[i] * in.beta_max * (sigmoid(logit) * sigmoid(-logit));
  });
  float* room = dynamic_shared<float>();  // [2, kThreads]
  da_log = sum_over_warps(da_log, room);
  ddt_bias = sum_over_warps(ddt_bias, room + kThreads);
  if (warp_index() == 0 && has_head) {
    a_log_partials[tile.block * in.heads + tile.head] = da_log;
    dt_bias_partials[tile.block * in.heads + tile.head] = ddt_bias;
  }
}

}  // namespace

void gates_forward(const GateInputs& inputs, const Tensor& g, const Tensor& beta, Stream stream) {
  const Operands in = operands_of(inputs);
  launch(forward_kernel, GateTile::grid(in.tokens, in.heads), kThreads, 0, stream, in, g.data<float>(),
         beta.data<float>());
}

void gates_backward(const GateInputs& inputs, const Tensor& dg, const Tensor& dbeta, const GateGradients& gradients,
                    Stream stream) {
  const Operands in = operands_of(inputs);
  const Shape partials{divide_up(in.tokens, kBlockTokens), in.heads};
  const Tensor a_log_partials = Tensor::empty(partials, DType::kFloat32, dg.device());
  const Tensor dt_bias_partials = Tensor::empty(partials, DType::kFloat32, dg.device());
  launch(backward_kernel, GateTile::grid(in.tokens, in.heads), kThreads, 2 * kThreads * sizeof(float), stream, in,
         dg.data<float>(), dbeta.data<float>(), gradients.dz_a.data<float>(), gradients.dz_b.data<float>(),
         a_log_partials.data<float>(), dt_bias_partials.data<float>());
  add_column_sums(a_log_partials, gradients.da_log, stream);
  add_column_sums(dt_bias_partials, gradients.ddt_bias, stream);
}

}  // namespace mudelta::kernels::cuda
