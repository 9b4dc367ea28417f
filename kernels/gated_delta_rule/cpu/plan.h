#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/divide_up.h"
#include "core/tensor.h"
#include "kernels/gated_delta_rule/sizes.h"

// What the CPU files of the gated delta rule share: sizes, the cut into chunks, and scratch memory.
namespace mudelta::kernels::gated_delta_rule {

// Columns, and rows of chunks, are padded with zeros to a multiple of this in scratch memory.
constexpr std::int64_t kPadding = 16;

constexpr std::int64_t round_up(std::int64_t a, std::int64_t multiple) { return divide_up(a, multiple) * multiple; }

// Rows [begin, end) of a tensor: the tokens of a chunk, or the key_dim rows of a state.
struct Rows {
  std::int64_t begin, end;

  std::int64_t count() const { return end - begin; }
  std::int64_t padded_count() const { return round_up(count(), kPadding); }
};

// Every sequence is cut into chunks from its start; only its last chunk may be shorter.
struct Chunks {
  std::int64_t length;              // of a full chunk; a multiple of kPadding
  std::vector<std::int64_t> first;  // [sequences + 1] number of the first chunk of each sequence
  std::vector<Rows> sequences;      // the tokens of each

  std::int64_t count(std::int64_t sequence) const { return first[sequence + 1] - first[sequence]; }
  std::int64_t total() const { return first.back(); }
};

inline Rows chunk_tokens(const Chunks& chunks, std::int64_t sequence, std::int64_t chunk) {
  const Rows& tokens = chunks.sequences[sequence];
  const std::int64_t begin = tokens.begin + chunk * chunks.length;
  return {begin, std::min(begin + chunks.length, tokens.end)};
}

// A tensor [rows, heads, dim], taken apart once for a whole call. `data` is null if the tensor was not given.
struct HeadRows {
  std::byte* data = nullptr;
  DType dtype = DType::kFloat32;
  std::int64_t heads = 0, dim = 0;

  explicit operator bool() const { return data != nullptr; }
};
inline HeadRows head_rows(const Tensor& tensor) {
  return tensor.defined() ? HeadRows{tensor.raw(), tensor.dtype(), tensor.size(1), tensor.size(2)} : HeadRows{};
}

// States [.., value_heads, key_dim, value_dim], seen as the rows of all their matrices, and the rows of one of them.
inline HeadRows all_state_rows(const Tensor& states) {
  return states.defined() ? HeadRows{states.raw(), DType::kFloat32, 1, states.size(3)} : HeadRows{};
}
inline Rows state_rows(const Sizes& sizes, std::int64_t state, std::int64_t value_head) {
  const std::int64_t begin = (state * sizes.value_heads + value_head) * sizes.key_dim;
  return {begin, begin + sizes.key_dim};
}

// A row-major matrix in scratch memory.
struct Matrix {
  float* data;
  std::int64_t stride;

  float* row(std::int64_t i) const { return data + i * stride; }
  Matrix from_row(std::int64_t i) const { return {row(i), stride}; }
  Matrix from_column(std::int64_t j) const { return {data + j, stride}; }
};

// Hands out parts of one thread's scratch memory, each aligned to 64 bytes. Without memory it only counts.
class Scratch {
 public:
  explicit Scratch(float* memory = nullptr) : memory_(memory) {}

  float* take(std::int64_t count) {
    float* part = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(count, kPadding);
    return part;
  }
  Matrix take_matrix(std::int64_t rows, std::int64_t columns) {
    const std::int64_t stride = round_up(columns, kPadding);
    return {take(rows * stride), stride};
  }
  std::int64_t used() const { return used_; }

 private:
  float* memory_;
  std::int64_t used_ = 0;
};

struct Inputs {
  HeadRows q, k, v;       // in a forward pass v may be null: zeros
  const float *g, *beta;  // [tokens, value_heads]
  float scale;
  Sizes sizes;
  Chunks chunks;
};

// The columns of each value head are cut into slabs, which do not depend on each other: the result has the same bits
// however they are cut and shared out.
struct Slabs {
  std::int64_t width;  // a multiple of kPadding
  std::int64_t per_value_head;
};

struct ForwardCall {
  const Inputs& inputs;
  HeadRows o;                                           // null: states alone are wanted
  HeadRows initial_states, final_states, chunk_states;  // may be null
  bool recurrent;
  Slabs slabs;
};

// The gradients of states alone, from those of o and from zero at the ends of sequences.
struct BackwardStatesCall {
  const Inputs& inputs;
  HeadRows d_o;
  HeadRows dinitial_states;
  Slabs slabs;
};

// What can run beside other items: some slabs of all value heads (forward, and the gradients of states) or some heads
// (backward) of a sequence. The heads of an item advance together, chunk by chunk, because a token's heads lie side by
// side in memory.
struct Item {
  std::int64_t sequence, begin, end;
};

std::int64_t forward_scratch_size(const ForwardCall& call, std::int64_t slabs_per_item);
void run_forward_item(const ForwardCall& call, const Item& item, float* scratch);

struct BackwardCall {
  const Inputs& inputs;
  HeadRows chunk_states, d_o;
  HeadRows dfinal_states, dinitial_states;  // may be null
  HeadRows dq, dk, dv;
  float *dg, *dbeta;  // [tokens, value_heads]
};
std::int64_t backward_scratch_size(const BackwardCall& call, std::int64_t heads_per_item);
void run_backward_item(const BackwardCall& call, const Item& item, float* scratch);

std::int64_t backward_states_scratch_size(const BackwardStatesCall& call, std::int64_t slabs_per_item);
void run_backward_states_item(const BackwardStatesCall& call, const Item& item, float* scratch);

}  // namespace mudelta::kernels::gated_delta_rule
