// The forward pass, chunk by chunk: either token by token within the chunk, or as matrix products. With the state S at
// the chunk's start, and writing a_i for from_start, e_i for to_end, G for between, stril for the part of a matrix
// below its diagonal, and "." for products element by element:
//   T = (I + diag(beta) stril(K K^T . G))^-1
//   U = K S     N = T diag(beta) (V - diag(a) U)     O = scale diag(a) Q S + (scale Q K^T . G) N
//   S <- a_last S + K^T diag(e) N
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_delta_rule/cpu/forward.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Highway's own headers come after foreach_target.h.
#include "kernels/gated_delta_rule/cpu/chunk-inl.h"
#include "kernels/gated_delta_rule/cpu/plan.h"
#include "kernels/gated_delta_rule/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE {

struct ForwardBuffers {
  Keys keys;
  Gates gates;
  Matrix weighted;  // [tokens, key_dim]: rows of q or k times decays
  Matrix v, o;      // [tokens, value columns]
  Matrix states;    // [slabs, key_dim, value columns]

  ForwardBuffers(Scratch& scratch, const ForwardCall& call, std::int64_t slabs)
      : keys(scratch, call.inputs.chunks.length, call.inputs.sizes.key_dim),
        gates(scratch, call.inputs.chunks.length),
        weighted(scratch.take_matrix(call.inputs.chunks.length, call.inputs.sizes.key_dim)),
        v(scratch.take_matrix(call.inputs.chunks.length, call.slabs.width)),
        o(scratch.take_matrix(call.inputs.chunks.length, call.slabs.width)),
        states(scratch.take_matrix(slabs * round_up(call.inputs.sizes.key_dim, kPadding), call.slabs.width)) {}
};

// What the next slab, or the first one of the next chunk, reads and writes.
struct UpcomingForward {
  UpcomingRows q, k, v, o;

  HWY_INLINE void fetch(std::int64_t row) const {
    q.fetch(row);
    k.fetch(row);
    v.fetch(row);
    o.fetch(row);
  }
};

// Token by token, for kVectors vectors of value columns: v, o and state point at the first. Each pass over the state
// brings it to token t, reads o_t from it, and already gathers S_t^T k_{t+1} for the error of the next token.
template <int kVectors>
HWY_INLINE void advance_columns(const Keys& keys, const Gates& gates, float scale, std::int64_t tokens,
                                std::int64_t key_dim, Matrix v, Matrix o, Matrix state, const UpcomingForward& next) {
  FloatVec recalled[kVectors];
  for (int j = 0; j < kVectors; ++j) recalled[j] = hn::Zero(kFloatTag);
  for (std::int64_t r = 0; r < key_dim; ++r) {
    const auto k = broadcast(keys.k.row(0)[r]);
    for (int j = 0; j < kVectors; ++j) {
      recalled[j] = hn::MulAdd(k, hn::Load(kFloatTag, state.row(r) + j * kLanes), recalled[j]);
    }
  }
  for (std::int64_t t = 0; t < tokens; ++t) {
    next.fetch(t);
    const auto decay = broadcast(gates.decay[t]), beta = broadcast(gates.beta[t]);
    const float* q = keys.q.row(t);
    const float* k = keys.k.row(t);
    const float* next_k = keys.k.row(t + 1 < tokens ? t + 1 : t);
    FloatVec error[kVectors], output[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      error[j] = hn::Mul(beta, hn::NegMulAdd(decay, recalled[j], hn::Load(kFloatTag, v.row(t) + j * kLanes)));
      output[j] = recalled[j] = hn::Zero(kFloatTag);
    }
    for (std::int64_t r = 0; r < key_dim; ++r) {
      const auto q_r = broadcast(q[r]), k_r = broadcast(k[r]), next_k_r = broadcast(next_k[r]);
      for (int j = 0; j < kVectors; ++j) {
        float* element = state.row(r) + j * kLanes;
        const auto s = hn::MulAdd(k_r, error[j], hn::Mul(decay, hn::Load(kFloatTag, element)));
        hn::Store(s, kFloatTag, element);
        output[j] = hn::MulAdd(q_r, s, output[j]);
        recalled[j] = hn::MulAdd(next_k_r, s, recalled[j]);
      }
    }
    for (int j = 0; j < kVectors; ++j) {
      hn::Store(hn::Mul(broadcast(scale), output[j]), kFloatTag, o.row(t) + j * kLanes);
    }
  }
}

void advance_recurrent(const ForwardCall& call, const ForwardBuffers& b, Rows tokens, std::int64_t columns,
                       Matrix state, const UpcomingForward& next) {
  for (std::int64_t column = 0; column < columns;) {
    const auto advance = [&]<int kVectors>() {
      advance_columns<kVectors>(b.keys, b.gates, call.inputs.scale, tokens.count(), call.inputs.sizes.key_dim,
                                b.v.from_column(column), b.o.from_column(column), state.from_column(column), next);
      column += kVectors * kLanes;
    };
    const std::int64_t remaining = (columns - column) / kLanes;
    if (remaining >= 4) {
      advance.template operator()<4>();
    } else if (remaining == 3) {
      advance.template operator()<3>();
    } else if (remaining == 2) {
      advance.template operator()<2>();
    } else {
      advance.template operator()<1>();
    }
  }
}

void advance_chunkwise(const ForwardCall& call, const ForwardBuffers& b, Rows tokens, std::int64_t columns,
                       Matrix state) {
  const std::int64_t rows = tokens.padded_count(), key_columns = b.keys.k.stride;
  const Matrix recalled = b.o;  // U, until O takes its place
  multiply(plain(b.keys.k), state, recalled, {rows, key_columns, columns}, 0);
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto beta = broadcast(b.gates.beta[i]), decay = broadcast(b.gates.from_start[i]);
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      const auto v = hn::Load(kFloatTag, b.v.row(i) + j);
      const auto error = hn::NegMulAdd(decay, hn::Load(kFloatTag, recalled.row(i) + j), v);
      hn::Store(hn::Mul(beta, error), kFloatTag, b.v.row(i) + j);
    }
  }
  const Matrix n = b.v;
  solve_unit_lower(plain(b.gates.system), n, rows, columns);

  for (std::int64_t i = 0; i < rows; ++i) {
    scale_row(b.keys.q.row(i), call.inputs.scale * b.gates.from_start[i], key_columns, b.weighted.row(i));
  }
  multiply(plain(b.weighted), state, b.o, {rows, key_columns, columns}, 0);
  multiply(plain(b.gates.scores), n, b.o, {rows, rows, columns}, 1, Triangle::kLowerLeft);

  for (std::int64_t i = 0; i < rows; ++i) {
    scale_row(b.keys.k.row(i), b.gates.to_end[i], key_columns, b.weighted.row(i));
  }
  multiply(transposed(b.weighted), n, state, {key_columns, rows, columns}, b.gates.whole_chunk(tokens));
}

std::int64_t forward_scratch_size(const ForwardCall& call, std::int64_t slabs_per_item) {
  Scratch scratch;
  ForwardBuffers(scratch, call, slabs_per_item);
  return scratch.used();
}

void run_forward_item(const ForwardCall& call, const Item& item, float* memory) {
  Scratch scratch(memory);
  const Sizes& sizes = call.inputs.sizes;
  ForwardBuffers b(scratch, call, item.end - item.begin);
  const auto columns_of = [&](std::int64_t slab) {
    const std::int64_t first = slab % call.slabs.per_value_head * call.slabs.width;
    return HeadColumns{slab / call.slabs.per_value_head, first, std::min(call.slabs.width, sizes.value_dim - first)};
  };
  const auto state_of = [&](std::int64_t slab) {
    return b.states.from_row((slab - item.begin) * round_up(sizes.key_dim, kPadding));
  };
  const auto upcoming = [&](std::int64_t chunk, std::int64_t slab) -> UpcomingForward {
    if (++slab == item.end) slab = item.begin, ++chunk;
    if (chunk == call.inputs.chunks.count(item.sequence)) return {};
    const Rows tokens = chunk_tokens(call.inputs.chunks, item.sequence, chunk);
    const HeadColumns columns = columns_of(slab), keys{columns.head / sizes.group(), 0, sizes.key_dim};
    return {.q = {call.inputs.q, tokens, keys},
            .k = {call.inputs.k, tokens, keys},
            .v = {call.inputs.v, tokens, columns},
            .o = {call.o, tokens, columns}};
  };
  const auto in_state = [](HeadColumns columns) { return HeadColumns{0, columns.first, columns.count}; };

  for (std::int64_t slab = item.begin; slab < item.end; ++slab) {
    const HeadColumns columns = columns_of(slab);
    const Rows rows = state_rows(sizes, item.sequence, columns.head);
    if (call.initial_states) {
      load_rows(call.initial_states, rows, in_state(columns), state_of(slab));
    } else {
      fill_zero(state_of(slab).data, rows.padded_count() * call.slabs.width);
    }
  }
  for (std::int64_t chunk = 0; chunk < call.inputs.chunks.count(item.sequence); ++chunk) {
    const Rows tokens = chunk_tokens(call.inputs.chunks, item.sequence, chunk);
    std::int64_t loaded_head = -1;
    for (std::int64_t slab = item.begin; slab < item.end; ++slab) {
      const HeadColumns columns = columns_of(slab);
      const Matrix state = state_of(slab);
      if (const std::int64_t head = columns.head / sizes.group(); head != loaded_head) {
        b.keys.load(call.inputs, tokens, head);
        if (!call.recurrent) b.keys.multiply_keys(tokens);
        loaded_head = head;
      }
      if (call.chunk_states) {
        const std::int64_t number = call.inputs.chunks.first[item.sequence] + chunk;
        store_rows(state, call.chunk_states, state_rows(sizes, number, columns.head), in_state(columns));
      }
      const std::int64_t padded_columns = round_up(columns.count, kPadding);
      if (call.inputs.v) {
        load_rows(call.inputs.v, tokens, columns, b.v);
      } else {
        fill_zero(b.v.data, tokens.padded_count() * b.v.stride);
      }
      b.gates.load(call.inputs, tokens, columns.head);
      if (call.recurrent) {
        advance_recurrent(call, b, tokens, padded_columns, state, upcoming(chunk, slab));
      } else {
        b.gates.multiply_decays(tokens);
        b.gates.weigh(b.keys, call.inputs.scale, tokens);
        advance_chunkwise(call, b, tokens, padded_columns, state);
      }
      if (call.o) store_rows(b.o, call.o, tokens, columns);
    }
  }
  if (!call.final_states) return;
  for (std::int64_t slab = item.begin; slab < item.end; ++slab) {
    const HeadColumns columns = columns_of(slab);
    const Rows rows = state_rows(sizes, item.sequence, columns.head);
    store_rows(state_of(slab), call.final_states, rows, in_state(columns));
  }
}

}  // namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels::gated_delta_rule {

HWY_EXPORT(forward_scratch_size);
HWY_EXPORT(run_forward_item);

std::int64_t forward_scratch_size(const ForwardCall& call, std::int64_t slabs_per_item) {
  return HWY_DYNAMIC_DISPATCH(forward_scratch_size)(call, slabs_per_item);
}

void run_forward_item(const ForwardCall& call, const Item& item, float* scratch) {
  HWY_DYNAMIC_DISPATCH(run_forward_item)(call, item, scratch);
}

}  // namespace mudelta::kernels::gated_delta_rule
#endif
