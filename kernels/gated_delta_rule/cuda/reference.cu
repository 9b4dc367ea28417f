#include <algorithm>

#include "kernels/cuda/simt.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/reference_layout.h"

// The gated delta rule token by token, as ../gated_delta_rule.h defines it, for every dtype and size. The columns
// of the state never meet: a block owns a slab of them, a warp eight, and a thread every fourth row of one column,
// which no other thread touches.
namespace mudelta::kernels::cuda {
namespace {

using namespace reference;
static_assert(kLanes == kWarpSize);

template <class T>
struct Problem {
  const T* q;         // [tokens, heads, key_dim]
  const T* k;         // [tokens, heads, key_dim]
  const T* v;         // [tokens, value_heads, value_dim]
  const float* g;     // [tokens, value_heads]
  const float* beta;  // [tokens, value_heads]
  const std::int32_t* cu_seqlens;
  float scale;
  std::int64_t tokens, sequences, heads, value_heads, key_dim, value_dim;

  constexpr std::int64_t slabs() const { return divide_up(value_dim, kSlab); }
  std::int64_t items() const { return sequences * value_heads * slabs(); }
  std::int64_t chunk_slots() const { return tokens / kChunk + sequences; }
  constexpr std::int64_t thread_rows() const { return divide_up(key_dim, kRowGroups); }
};

// What a thread works on: every fourth row, from first_row on, of a column of the state of `value_head` in `sequence`.
struct Place {
  std::int64_t slab, value_head, sequence, column;
  std::int64_t begin, end;  // tokens
  int first_row;
  bool valid;  // the column exists; all else is computed with zeros for the others
};

template <class T>
__device__ Place place_of(const Problem<T>& p, std::int64_t item) {
  Place place;
  place.slab = item % p.slabs();
  place.value_head = item / p.slabs() % p.value_heads;
  place.sequence = item / p.slabs() / p.value_heads;
  place.column = place.slab * kSlab + warp_index() * kWarpColumns + lane_index() % kWarpColumns;
  place.begin = p.cu_seqlens[place.sequence];
  place.end = p.cu_seqlens[place.sequence + 1];
  place.first_row = lane_index() / kWarpColumns;
  place.valid = place.column < p.value_dim;
  return place;
}

// Over the rows of a column.
__device__ float column_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, kWarpColumns);
  return x + __shfl_xor_sync(kAllLanes, x, 2 * kWarpColumns);
}
// Over the eight columns of a warp.
__device__ float row_sum(float x) {
  for (int offset = kWarpColumns / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}

// Row i of the thread's rows in a vector of key_dim elements.
template <class T>
__device__ float row_of(const T* vector, const Problem<T>& p, const Place& place, std::int64_t i) {
  const std::int64_t row = i * kRowGroups + place.first_row;
  return row < p.key_dim ? to_float(vector[row]) : 0.0f;
}
template <class T>
__device__ const T* key_vector(const T* vectors, const Problem<T>& p, const Place& place, std::int64_t t) {
  return vectors + (t * p.heads + place.value_head / (p.value_heads / p.heads)) * p.key_dim;
}

// Copies the thread's part of a matrix [key_dim, value_dim], element i from or to own[i * kThreads]. Zeros if null.
template <class T>
__device__ void load_state(float* own, const float* states, std::int64_t index, const Problem<T>& p,
                           const Place& place) {
  for (std::int64_t i = 0; i < p.thread_rows(); ++i) {
    const std::int64_t row = i * kRowGroups + place.first_row;
    const bool exists = states != nullptr && place.valid && row < p.key_dim;
    own[i * kThreads] = exists ? states[(index * p.key_dim + row) * p.value_dim + place.column] : 0.0f;
  }
}
template <class T>
__device__ void store_state(const float* own, float* states, std::int64_t index, const Problem<T>& p,
                            const Place& place) {
  for (std::int64_t i = 0; i < p.thread_rows(); ++i) {
    const std::int64_t row = i * kRowGroups + place.first_row;
    if (place.valid && row < p.key_dim) {
      states[(index * p.key_dim + row) * p.value_dim + place.column] = own[i * kThreads];
    }
  }
}

// v - (e^g S)^T k in the thread's column.
template <class T>
__device__ float error_of(const float* state, const T* k, float decay, const Problem<T>& p, const Place& place,
                          std::int64_t t) {
  float recalled = 0.0f;
  for (std::int64_t i = 0; i < p.thread_rows(); ++i) {
    recalled = fmaf(decay * state[i * kThreads], row_of(k, p, place, i), recalled);
  }
  recalled = column_sum(recalled);
  const float value =
      place.valid ? to_float(p.v[(t * p.value_heads + place.value_head) * p.value_dim + place.column]) : 0.0f;
  return value - recalled;
}

// Index of the state at the start of a chunk of the thread's sequence.
template <class T>
__device__ std::int64_t chunk_state_index(const Problem<T>& p, const Place& place, std::int64_t chunk) {
  return (place.begin / kChunk + place.sequence + chunk) * p.value_heads + place.value_head;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Problem<T> p, const float* initial_states, T* o, float* final_states, float* chunk_states) {
  const Place place = place_of(p, blockIdx.x);
  float* state = dynamic_shared<float>() + threadIdx.x;  // [thread_rows, kThreads]
  const std::int64_t state_index = place.sequence * p.value_heads + place.value_head;
  load_state(state, initial_states, state_index, p, place);
  for (std::int64_t t = place.begin; t < place.end; ++t) {
    if (chunk_states != nullptr && (t - place.begin) % kChunk == 0) {
      store_state(state, chunk_states, chunk_state_index(p, place, (t - place.begin) / kChunk), p, place);
    }
    const std::int64_t gate = t * p.value_heads + place.value_head;
    const float decay = expf(p.g[gate]);
    const T *q = key_vector(p.q, p, place, t), *k = key_vector(p.k, p, place, t);
    const float update = p.beta[gate] * error_of(state, k, decay, p, place, t);
    float out = 0.0f;
    for (std::int64_t i = 0; i < p.thread_rows(); ++i) {
      const float after = fmaf(row_of(k, p, place, i), update, decay * state[i * kThreads]);
      state[i * kThreads] = after;
      out = fmaf(after, row_of(q, p, place, i), out);
    }
    out = p.scale * column_sum(out);
    if (place.valid && place.first_row == 0) o[gate * p.value_dim + place.column] = from_float<T>(out);
  }
  if (final_states != nullptr) store_state(state, final_states, state_index, p, place);
}

template <class T>
struct Adjoint {
  const float* chunk_states;   // [chunk_slots, value_heads, key_dim, value_dim]
  const T* d_o;                // [tokens, value_heads, value_dim]
  const float* dfinal_states;  // [sequences, value_heads, key_dim, value_dim], or null
  T* dv;
  float* dinitial_states;  // or null
  float* histories;        // [blocks, kChunk, thread_rows, kThreads]: a chunk's states, each before its token
  float* sums;             // [slabs, tokens, value_heads, 2 key_dim + 2]: dq, dk, dg, dbeta of one slab
};

// The adjoint of token t, whose state before it is `before`; dstate is that of the state after it, then of that before.
// What is summed over the warp's columns goes to warp_sums [2 key_dim + 2].
template <class T>
__device__ void step_back(const Problem<T>& p, const Adjoint<T>& a, const Place& place, std::int64_t t,
                          const float* before, float* dstate, float* warp_sums) {
  const std::int64_t gate = t * p.value_heads + place.value_head;
  const float decay = expf(p.g[gate]), beta = p.beta[gate];
  const T *q = key_vector(p.q, p, place, t), *k = key_vector(p.k, p, place, t);
  const float error = error_of(before, k, decay, p, place, t);
  const float scaled_d_o = place.valid ? p.scale * to_float(a.d_o[gate * p.value_dim + place.column]) : 0.0f;

  float dstate_k = 0.0f;
  for (std::int64_t i = 0; i < p.thread_rows(); ++i) {
    const float ds = fmaf(row_of(q, p, place, i), scaled_d_o, dstate[i * kThreads]);
    dstate[i * kThreads] = ds;
    dstate_k = fmaf(ds, row_of(k, p, place, i), dstate_k);
  }
  dstate_k = column_sum(dstate_k);
  const float derror = beta * dstate_k;
  if (place.valid && place.first_row == 0) a.dv[gate * p.value_dim + place.column] = from_float<T>(derror);

  float dg = 0.0f;
  for (std::int64_t i = 0; i < p.thread_rows(); ++i) {
    const float key = row_of(k, p, place, i), decayed = decay * before[i * kThreads];
    float ds = dstate[i * kThreads];
    const float dq = row_sum(scaled_d_o * fmaf(key, beta * error, decayed));
    const float dk = row_sum(ds * beta * error - decayed * derror);
    ds -= key * derror;
    dg = fmaf(ds, decayed, dg);
    dstate[i * kThreads] = decay * ds;
    const std::int64_t row = i * kRowGroups + place.first_row;
    if (lane_index() % kWarpColumns == 0 && row < p.key_dim) {
      warp_sums[row] = dq;
      warp_sums[p.key_dim + row] = dk;
    }
  }
  dg = warp_sum(dg);
  const float dbeta = row_sum(dstate_k * error);
  if (lane_index() == 0) {
    warp_sums[2 * p.key_dim] = dg;
    warp_sums[2 * p.key_dim + 1] = dbeta;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) backward_kernel(Problem<T> p, Adjoint<T> a, std::int64_t items) {
  const std::int64_t state_size = p.thread_rows() * kThreads, num_sums = 2 * p.key_dim + 2;
  float* dstate = dynamic_shared<float>() + threadIdx.x;    // [thread_rows, kThreads]
  float* warp_sums = dynamic_shared<float>() + state_size;  // [2, kWarps, num_sums]: of tokens in turn
  float* history = a.histories + static_cast<std::int64_t>(blockIdx.x) * kChunk * state_size + threadIdx.x;
  for (std::int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const Place place = place_of(p, item);
    const std::int64_t state_index = place.sequence * p.value_heads + place.value_head;
    load_state(dstate, a.dfinal_states, state_index, p, place);
    for (std::int64_t chunk = divide_up(place.end - place.begin, kChunk) - 1; chunk >= 0; --chunk) {
      const std::int64_t begin = place.begin + chunk * kChunk, end = min(begin + kChunk, place.end);
      load_state(history, a.chunk_states, chunk_state_index(p, place, chunk), p, place);
      for (std::int64_t t = begin; t + 1 < end; ++t) {
        const float* before = history + (t - begin) * state_size;
        float* after = history + (t + 1 - begin) * state_size;
        const std::int64_t gate = t * p.value_heads + place.value_head;
        const float decay = expf(p.g[gate]);
        const T* k = key_vector(p.k, p, place, t);
        const float update = p.beta[gate] * error_of(before, k, decay, p, place, t);
        for (std::int64_t i = 0; i < p.thread_rows(); ++i) {
          after[i * kThreads] = fmaf(row_of(k, p, place, i), update, decay * before[i * kThreads]);
        }
      }
      for (std::int64_t t = end - 1; t >= begin; --t) {
        float* token_sums = warp_sums + t % 2 * kWarps * num_sums;
        step_back(p, a, place, t, history + (t - begin) * state_size, dstate, token_sums + warp_index() * num_sums);
        __syncthreads();
        float* slab_sums = a.sums + ((place.slab * p.tokens + t) * p.value_heads + place.value_head) * num_sums;
        for (std::int64_t i = threadIdx.x; i < num_sums; i += kThreads) {
          float sum = 0.0f;
          for (int warp = 0; warp < kWarps; ++warp) sum += token_sums[warp * num_sums + i];
          slab_sums[i] = sum;
        }
      }
    }
    if (a.dinitial_states != nullptr) store_state(dstate, a.dinitial_states, state_index, p, place);
    __syncthreads();  // before the next item's sums
  }
}

// Block (t, head): adds up the slabs, and for q and k the value heads that share the head.
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_slabs_kernel(Problem<T> p, const float* sums, T* dq, T* dk, float* dg, float* dbeta) {
  const std::int64_t t = blockIdx.x / p.heads, head = blockIdx.x % p.heads, group = p.value_heads / p.heads;
  const std::int64_t num_sums = 2 * p.key_dim + 2;
  const auto add_up = [&](std::int64_t value_head, std::int64_t i) {
    float sum = 0.0f;
    for (std::int64_t slab = 0; slab < p.slabs(); ++slab) {
      sum += sums[((slab * p.tokens + t) * p.value_heads + value_head) * num_sums + i];
    }
    return sum;
  };
  for (std::int64_t i = threadIdx.x; i < 2 * p.key_dim; i += kThreads) {
    float sum = 0.0f;
    for (std::int64_t j = 0; j < group; ++j) sum += add_up(head * group + j, i);
    T* out = (i < p.key_dim ? dq : dk) + (t * p.heads + head) * p.key_dim;
    out[i % p.key_dim] = from_float<T>(sum);
  }
  for (std::int64_t i = threadIdx.x; i < 2 * group; i += kThreads) {
    const std::int64_t value_head = head * group + i / 2;
    (i % 2 == 0 ? dg : dbeta)[t * p.value_heads + value_head] = add_up(value_head, 2 * p.key_dim + i % 2);
  }
}

template <class T>
Problem<T> problem_of(const GatedDeltaRuleInputs& inputs) {
  return {.q = inputs.q.data<T>(),
          .k = inputs.k.data<T>(),
          .v = inputs.v.data<T>(),
          .g = inputs.g.data<float>(),
          .beta = inputs.beta.data<float>(),
          .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
          .scale = inputs.scale,
          .tokens = inputs.q.size(0),
          .sequences = inputs.cu_seqlens.numel() - 1,
          .heads = inputs.q.size(1),
          .value_heads = inputs.v.size(1),
          .key_dim = inputs.q.size(2),
          .value_dim = inputs.v.size(2)};
}

}  // namespace

void reference_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state,
                       Tensor* chunk_states, Stream stream) {
  dispatch_float(inputs.q.dtype(), [&]<class T>() {
    const Problem<T> p = problem_of<T>(inputs);
    if (chunk_states != nullptr) {
      *chunk_states =
          Tensor::empty({p.chunk_slots(), p.value_heads, p.key_dim, p.value_dim}, DType::kFloat32, inputs.q.device());
    }
    const std::int64_t shared_bytes = p.thread_rows() * kThreads * sizeof(float);
    launch(forward_kernel<T>, dim3(static_cast<unsigned>(p.items())), kThreads, shared_bytes, stream, p,
           data_or_null(inputs.initial_state), o.data<T>(), data_or_null(final_state),
           data_or_null(chunk_states == nullptr ? Tensor() : *chunk_states));
  });
}

void reference_backward(const GatedDeltaRuleInputs& inputs, const Tensor& chunk_states, const Tensor& d_o,
                        const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients, Stream stream) {
  dispatch_float(inputs.q.dtype(), [&]<class T>() {
    const Problem<T> p = problem_of<T>(inputs);
    const Device device = inputs.q.device();
    const std::int64_t blocks = std::min(p.items(), kMaxBlocks), num_sums = 2 * p.key_dim + 2;
    const std::int64_t state_size = p.thread_rows() * kThreads;
    const Tensor histories = Tensor::empty({blocks, kChunk, state_size}, DType::kFloat32, device);
    const Tensor sums = Tensor::empty({p.slabs(), p.tokens, p.value_heads, num_sums}, DType::kFloat32, device);
    const Adjoint<T> adjoint{.chunk_states = chunk_states.data<float>(),
                             .d_o = d_o.data<T>(),
                             .dfinal_states = data_or_null(dfinal_state),
                             .dv = gradients.dv.data<T>(),
                             .dinitial_states = data_or_null(gradients.dinitial_state),
                             .histories = histories.data<float>(),
                             .sums = sums.data<float>()};
    launch(backward_kernel<T>, dim3(static_cast<unsigned>(blocks)), kThreads,
           (state_size + 2 * kWarps * num_sums) * sizeof(float), stream, p, adjoint, p.items());
    launch(add_slabs_kernel<T>, dim3(static_cast<unsigned>(p.tokens * p.heads)), kThreads, 0, stream, p,
           sums.data<float>(), gradients.dq.data<T>(), gradients.dk.data<T>(), gradients.dg.data<float>(),
           gradients.dbeta.data<float>());
  });
}

}  // namespace mudelta::kernels::cuda
