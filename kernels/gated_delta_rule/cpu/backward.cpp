// The backward pass, chunk by chunk from the last. With the names of forward.cpp, S for the state at
// the chunk's start, from which U, W = V - diag(a) U and N are computed again, dS for the gradient of the state at its
// end, and P for the scores:
//   dN = diag(e) K dS + P^T dO       dY = T^T dN                 dV = dW = diag(beta) dY      dU = -diag(a) dW
//   dQK = scale (dO N^T) . G         dKK = -diag(beta) stril(dY N^T) . G
//   dQ = scale diag(a) dO S^T + dQK K
//   dK = diag(e) N dS^T + dU S^T + dQK^T Q + (dKK + dKK^T) K
//   dS <- a_last dS + scale (diag(a) Q)^T dO + K^T dU
//   dbeta = rowsum(dY . W) - rowsum(stril(dY N^T) . G . KK)
//   dg_t = a_last <dS, S> + sum_{i >= t} from_i + sum_{j < t} to_j + sum_{i >= t > j} M_ij,
// where from_i and to_j are the derivatives by log a_i and log e_j, and M_ij (i > j) is that by log G_ij. Every term
// holds the factor e^{g_t}, so that a token that decays to 0 has a dg of exactly 0. The sums are formed as they stand:
// a running sum over t, from which terms are taken away again, would leave the rounding of the other tokens' terms in
// such a dg, and its product with a large |g| would swamp the gradient of A_log.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_delta_rule/cpu/backward.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Highway's own headers come after foreach_target.h.
#include "kernels/gated_delta_rule/cpu/chunk-inl.h"
#include "kernels/gated_delta_rule/cpu/plan.h"
#include "kernels/gated_delta_rule/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE {

struct BackwardBuffers {
  Keys keys;
  Gates gates;
  Matrix dq, dk;             // [tokens, key_dim], summed over value heads
  Matrix dqk, dkk;           // [tokens, tokens], summed over value heads, 0 above (dkk: on) the diagonal
  Matrix weighted, partial;  // [tokens, key_dim]
  Matrix do_n, dy_n;         // [tokens, tokens]: dO N^T and dY N^T
  Matrix d_o, w, n, u, dy;   // [tokens, value_dim]; dV replaces W, dU replaces U, dY replaces dN
  Matrix n_transposed;       // [value_dim, tokens]
  Matrix state;              // [key_dim, value_dim]
  Matrix state_transposed;   // [value_dim, key_dim], of S, then of dS
  Matrix dstates;            // [value heads, key_dim, value_dim]
  float *dbeta, *dg;         // [tokens]
  float *from, *to;          // [tokens]: see the formula of dg
  float* m_columns;          // [tokens]: sums of the columns of M over the rows so far

  BackwardBuffers(Scratch& scratch, const Inputs& inputs, std::int64_t heads)
      : BackwardBuffers(scratch, inputs.sizes, inputs.chunks.length, heads * inputs.sizes.group()) {}

 private:
  BackwardBuffers(Scratch& scratch, const Sizes& sizes, std::int64_t chunk, std::int64_t value_heads)
      : keys(scratch, chunk, sizes.key_dim),
        gates(scratch, chunk),
        dq(scratch.take_matrix(chunk, sizes.key_dim)),
        dk(scratch.take_matrix(chunk, sizes.key_dim)),
        dqk(scratch.take_matrix(chunk, chunk)),
        dkk(scratch.take_matrix(chunk, chunk)),
        weighted(scratch.take_matrix(chunk, sizes.key_dim)),
        partial(scratch.take_matrix(chunk, sizes.key_dim)),
        do_n(scratch.take_matrix(chunk, chunk)),
        dy_n(scratch.take_matrix(chunk, chunk)),
        d_o(scratch.take_matrix(chunk, sizes.value_dim)),
        w(scratch.take_matrix(chunk, sizes.value_dim)),
        n(scratch.take_matrix(chunk, sizes.value_dim)),
        u(scratch.take_matrix(chunk, sizes.value_dim)),
        dy(scratch.take_matrix(chunk, sizes.value_dim)),
        n_transposed(scratch.take_matrix(round_up(sizes.value_dim, kPadding), chunk)),
        state(scratch.take_matrix(round_up(sizes.key_dim, kPadding), sizes.value_dim)),
        state_transposed(scratch.take_matrix(round_up(sizes.value_dim, kPadding), sizes.key_dim)),
        dstates(scratch.take_matrix(value_heads * round_up(sizes.key_dim, kPadding), sizes.value_dim)),
        dbeta(scratch.take(chunk)),
        dg(scratch.take(chunk)),
        from(scratch.take(chunk)),
        to(scratch.take(chunk)),
        m_columns(scratch.take(chunk)) {}
};

// What the next value head, or the first one of the previous chunk, reads and writes.
struct UpcomingBackward {
  UpcomingRows q, k, v, d_o, state, dq, dk, dv;
};

HWY_INLINE float dot(const float* a, const float* b, std::int64_t count) {
  auto sum = hn::Zero(kFloatTag);
  for (std::int64_t i = 0; i < count; i += kLanes) {
    sum = hn::MulAdd(hn::Load(kFloatTag, a + i), hn::Load(kFloatTag, b + i), sum);
  }
  return sum_of_lanes(sum);
}

// y += factor x; returns factor <x, z>.
HWY_INLINE float add_scaled(const float* x, float factor, const float* z, std::int64_t count, float* y) {
  const auto factors = broadcast(factor);
  auto sum = hn::Zero(kFloatTag);
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const auto scaled = hn::Mul(factors, hn::Load(kFloatTag, x + i));
    hn::Store(hn::Add(scaled, hn::Load(kFloatTag, y + i)), kFloatTag, y + i);
    sum = hn::MulAdd(scaled, hn::Load(kFloatTag, z + i), sum);
  }
  return sum_of_lanes(sum);
}

// U, W and N.
void recompute_values(const BackwardBuffers& b, std::int64_t rows, const UpcomingBackward& next) {
  const std::int64_t columns = b.w.stride;
  multiply(plain(b.keys.k), b.state, b.u, {rows, b.keys.k.stride, columns}, 0);
  for (std::int64_t i = 0; i < rows; ++i) {
    next.q.fetch(i);
    next.k.fetch(i);
    const auto beta = broadcast(b.gates.beta[i]), decay = broadcast(b.gates.from_start[i]);
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      const auto w = hn::NegMulAdd(decay, hn::Load(kFloatTag, b.u.row(i) + j), hn::Load(kFloatTag, b.w.row(i) + j));
      hn::Store(w, kFloatTag, b.w.row(i) + j);
      hn::Store(hn::Mul(beta, w), kFloatTag, b.n.row(i) + j);
    }
  }
  solve_unit_lower(plain(b.gates.system), b.n, rows, columns);
}

// dY, dV, dU, and the first terms of dbeta and `from`.
void differentiate_values(const BackwardBuffers& b, Matrix dstate, std::int64_t rows, const UpcomingBackward& next) {
  const std::int64_t columns = b.w.stride, key_columns = b.keys.k.stride;
  for (std::int64_t i = 0; i < rows; ++i) {
    next.v.fetch(i);
    scale_row(b.keys.k.row(i), b.gates.to_end[i], key_columns, b.weighted.row(i));
  }
  multiply(plain(b.weighted), dstate, b.dy, {rows, key_columns, columns}, 0);
  multiply(transposed(b.gates.scores), b.d_o, b.dy, {rows, rows, columns}, 1, Triangle::kUpperLeft);
  solve_unit_lower_transposed(b.gates.system, b.dy, rows, columns);
  for (std::int64_t i = 0; i < rows; ++i) {
    next.d_o.fetch(i);
    const auto beta = broadcast(b.gates.beta[i]), decay = broadcast(b.gates.from_start[i]);
    auto dbeta = hn::Zero(kFloatTag), from = hn::Zero(kFloatTag);
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      const auto dy = hn::Load(kFloatTag, b.dy.row(i) + j), u = hn::Load(kFloatTag, b.u.row(i) + j);
      dbeta = hn::MulAdd(dy, hn::Load(kFloatTag, b.w.row(i) + j), dbeta);
      const auto dv = hn::Mul(beta, dy);
      const auto du = hn::Neg(hn::Mul(decay, dv));
      from = hn::MulAdd(du, u, from);
      hn::Store(dv, kFloatTag, b.w.row(i) + j);
      hn::Store(du, kFloatTag, b.u.row(i) + j);
    }
    b.dbeta[i] = sum_of_lanes(dbeta);
    b.from[i] = sum_of_lanes(from);
  }
}

// Adds to dqk and dkk, completes dbeta, and sets dg to its sum of M.
void differentiate_scores(const BackwardBuffers& b, float scale, std::int64_t rows) {
  const std::int64_t columns = b.w.stride;
  transpose(b.n, rows, columns, b.n_transposed);
  multiply(plain(b.d_o), b.n_transposed, b.do_n, {rows, columns, rows}, 0, Triangle::kLowerResult);
  multiply(plain(b.dy), b.n_transposed, b.dy_n, {rows, columns, rows}, 0, Triangle::kLowerResult);
  fill_zero(b.m_columns, rows);
  const hn::Rebind<std::int32_t, FloatTag> int_tag;
  const auto lane_numbers = hn::Iota(int_tag, 0);
  const auto scales = broadcast(scale);
  for (std::int64_t i = rows - 1; i >= 0; --i) {
    const auto diagonal = hn::Set(int_tag, static_cast<std::int32_t>(i));
    const auto minus_beta = broadcast(-b.gates.beta[i]);
    auto m_sum = hn::Zero(kFloatTag), dbeta = hn::Zero(kFloatTag);
    for (std::int64_t j = 0; j < round_up(i + 1, kPadding); j += kLanes) {
      const auto column = hn::Add(lane_numbers, hn::Set(int_tag, static_cast<std::int32_t>(j)));
      const auto below = hn::RebindMask(kFloatTag, hn::Lt(column, diagonal));
      const auto between = hn::Load(kFloatTag, b.gates.between.row(i) + j);
      const auto dqk = hn::Mul(hn::Mul(scales, between), hn::Load(kFloatTag, b.do_n.row(i) + j));
      const auto dx = hn::IfThenElseZero(below, hn::Mul(between, hn::Load(kFloatTag, b.dy_n.row(i) + j)));
      const auto dkk = hn::Mul(minus_beta, dx);
      const auto kk = hn::Load(kFloatTag, b.keys.kk.row(i) + j), qk = hn::Load(kFloatTag, b.keys.qk.row(i) + j);
      dbeta = hn::MulAdd(dx, kk, dbeta);
      const auto m = hn::MulAdd(dkk, kk, hn::IfThenElseZero(below, hn::Mul(dqk, qk)));
      const auto m_column = hn::Add(m, hn::Load(kFloatTag, b.m_columns + j));
      hn::Store(m_column, kFloatTag, b.m_columns + j);
      m_sum = hn::Add(m_sum, hn::IfThenElseZero(below, m_column));
      hn::Store(hn::Add(dqk, hn::Load(kFloatTag, b.dqk.row(i) + j)), kFloatTag, b.dqk.row(i) + j);
      hn::Store(hn::Add(dkk, hn::Load(kFloatTag, b.dkk.row(i) + j)), kFloatTag, b.dkk.row(i) + j);
    }
    b.dg[i] = sum_of_lanes(m_sum);
    b.dbeta[i] -= sum_of_lanes(dbeta);
  }
}

// The terms of dq and dk that come through the state, with `to` and their share of `from`, and the rest of dg.
void differentiate_state(const BackwardBuffers& b, Matrix dstate, float scale, Rows tokens,
                         const UpcomingBackward& next) {
  const std::int64_t rows = tokens.padded_count(), columns = b.w.stride, key_columns = b.keys.k.stride;
  transpose(b.state, key_columns, columns, b.state_transposed);
  multiply(plain(b.d_o), b.state_transposed, b.partial, {rows, columns, key_columns}, 0);
  for (std::int64_t i = 0; i < rows; ++i) {
    next.dq.fetch(i);
    next.dk.fetch(i);
    b.from[i] += add_scaled(b.partial.row(i), scale * b.gates.from_start[i], b.keys.q.row(i), key_columns, b.dq.row(i));
  }
  multiply(plain(b.u), b.state_transposed, b.dk, {rows, columns, key_columns}, 1);

  transpose(dstate, key_columns, columns, b.state_transposed);
  multiply(plain(b.n), b.state_transposed, b.partial, {rows, columns, key_columns}, 0);
  for (std::int64_t i = 0; i < rows; ++i) {
    next.dv.fetch(i);
    b.to[i] = add_scaled(b.partial.row(i), b.gates.to_end[i], b.keys.k.row(i), key_columns, b.dk.row(i));
  }

  const float whole = b.gates.whole_chunk(tokens);
  double through = 0, later = 0, earlier = 0;
  for (std::int64_t r = 0; r < key_columns; ++r) {
    next.state.fetch(r);
    through += dot(dstate.row(r), b.state.row(r), columns);
  }
  through *= whole;
  for (std::int64_t i = rows - 1; i >= 0; --i) {
    later += b.from[i];
    b.dg[i] += static_cast<float>(through + later);
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    b.dg[i] += static_cast<float>(earlier);
    earlier += b.to[i];
  }

  for (std::int64_t i = 0; i < rows; ++i) {
    scale_row(b.keys.q.row(i), scale * b.gates.from_start[i], key_columns, b.weighted.row(i));
  }
  multiply(transposed(b.weighted), b.d_o, dstate, {key_columns, rows, columns}, whole);
  multiply(transposed(b.keys.k), b.u, dstate, {key_columns, rows, columns}, 1);
}

void store_gate(const float* in, float* gradient, const Sizes& sizes, Rows tokens, std::int64_t value_head) {
  float* out = gradient + tokens.begin * sizes.value_heads + value_head;
  for (std::int64_t i = 0; i < tokens.count(); ++i) out[i * sizes.value_heads] = in[i];
}

// Chunk `chunk` of a sequence, for one head and all value heads that share it.
void run_backward_chunk(const BackwardCall& call, const BackwardBuffers& b, const Item& item, std::int64_t chunk,
                        std::int64_t head, Matrix dstates) {
  const Inputs& inputs = call.inputs;
  const Sizes& sizes = inputs.sizes;
  const Rows tokens = chunk_tokens(inputs.chunks, item.sequence, chunk);
  const std::int64_t rows = tokens.padded_count();
  const HeadColumns key_columns{head, 0, sizes.key_dim}, state_columns{0, 0, sizes.value_dim};
  const auto saved_state = [&](std::int64_t chunk_of_sequence, std::int64_t value_head) {
    return state_rows(sizes, inputs.chunks.first[item.sequence] + chunk_of_sequence, value_head);
  };
  const auto upcoming = [&](std::int64_t value_head) -> UpcomingBackward {
    std::int64_t next_chunk = chunk;
    if (++value_head == item.end * sizes.group()) value_head = item.begin * sizes.group(), --next_chunk;
    if (next_chunk < 0) return {};
    const Rows next_tokens = chunk_tokens(inputs.chunks, item.sequence, next_chunk);
    const HeadColumns keys{value_head / sizes.group(), 0, sizes.key_dim}, values{value_head, 0, sizes.value_dim};
    return {.q = {inputs.q, next_tokens, keys},
            .k = {inputs.k, next_tokens, keys},
            .v = {inputs.v, next_tokens, values},
            .d_o = {call.d_o, next_tokens, values},
            .state = {call.chunk_states, saved_state(next_chunk, value_head), state_columns},
            .dq = {call.dq, next_tokens, keys},
            .dk = {call.dk, next_tokens, keys},
            .dv = {call.dv, next_tokens, values}};
  };

  b.keys.load(inputs, tokens, head);
  b.keys.multiply_keys(tokens);
  for (const Matrix& sum : {b.dq, b.dk, b.dqk, b.dkk}) fill_zero(sum.data, rows * sum.stride);
  for (std::int64_t i = 0; i < sizes.group(); ++i) {
    const std::int64_t value_head = head * sizes.group() + i;
    const HeadColumns value_columns{value_head, 0, sizes.value_dim};
    const Matrix dstate = dstates.from_row(i * round_up(sizes.key_dim, kPadding));
    const UpcomingBackward next = upcoming(value_head);
    b.gates.load(inputs, tokens, value_head);
    b.gates.multiply_decays(tokens);
    b.gates.weigh(b.keys, inputs.scale, tokens);
    load_rows(inputs.v, tokens, value_columns, b.w);
    load_rows(call.d_o, tokens, value_columns, b.d_o);
    load_rows(call.chunk_states, saved_state(chunk, value_head), state_columns, b.state);
    recompute_values(b, rows, next);
    differentiate_values(b, dstate, rows, next);
    store_rows(b.w, call.dv, tokens, value_columns);
    differentiate_scores(b, inputs.scale, rows);
    store_gate(b.dbeta, call.dbeta, sizes, tokens, value_head);
    differentiate_state(b, dstate, inputs.scale, tokens, next);
    store_gate(b.dg, call.dg, sizes, tokens, value_head);
  }
  const ProductSize size{rows, rows, b.keys.k.stride};
  multiply(plain(b.dqk), b.keys.k, b.dq, size, 1, Triangle::kLowerLeft);
  multiply(transposed(b.dqk), b.keys.q, b.dk, size, 1, Triangle::kUpperLeft);
  multiply(plain(b.dkk), b.keys.k, b.dk, size, 1, Triangle::kLowerLeft);
  multiply(transposed(b.dkk), b.keys.k, b.dk, size, 1, Triangle::kUpperLeft);
  store_rows(b.dq, call.dq, tokens, key_columns);
  store_rows(b.dk, call.dk, tokens, key_columns);
}

std::int64_t backward_scratch_size(const BackwardCall& call, std::int64_t heads_per_item) {
  Scratch scratch;
  BackwardBuffers(scratch, call.inputs, heads_per_item);
  return scratch.used();
}

void run_backward_item(const BackwardCall& call, const Item& item, float* memory) {
  Scratch scratch(memory);
  const Sizes& sizes = call.inputs.sizes;
  BackwardBuffers b(scratch, call.inputs, item.end - item.begin);
  const HeadColumns all_columns{0, 0, sizes.value_dim};
  const std::int64_t group = sizes.group();
  const auto dstate_of = [&](std::int64_t value_head) {
    return b.dstates.from_row((value_head - item.begin * group) * round_up(sizes.key_dim, kPadding));
  };

  for (std::int64_t h = item.begin * group; h < item.end * group; ++h) {
    const Rows rows = state_rows(sizes, item.sequence, h);
    if (call.dfinal_states) {
      load_rows(call.dfinal_states, rows, all_columns, dstate_of(h));
    } else {
      fill_zero(dstate_of(h).data, rows.padded_count() * b.dstates.stride);
    }
  }
  for (std::int64_t chunk = call.inputs.chunks.count(item.sequence) - 1; chunk >= 0; --chunk) {
    for (std::int64_t head = item.begin; head < item.end; ++head) {
      run_backward_chunk(call, b, item, chunk, head, dstate_of(head * group));
    }
  }
  if (!call.dinitial_states) return;
  for (std::int64_t h = item.begin * group; h < item.end * group; ++h) {
    store_rows(dstate_of(h), call.dinitial_states, state_rows(sizes, item.sequence, h), all_columns);
  }
}

}  // namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels::gated_delta_rule {

HWY_EXPORT(backward_scratch_size);
HWY_EXPORT(run_backward_item);

std::int64_t backward_scratch_size(const BackwardCall& call, std::int64_t heads_per_item) {
  return HWY_DYNAMIC_DISPATCH(backward_scratch_size)(call, heads_per_item);
}

void run_backward_item(const BackwardCall& call, const Item& item, float* scratch) {
  HWY_DYNAMIC_DISPATCH(run_backward_item)(call, item, scratch);
}

}  // namespace mudelta::kernels::gated_delta_rule
#endif
