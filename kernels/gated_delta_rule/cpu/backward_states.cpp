// The gradients of states alone, token by token from the last. With dS that of the state after token t:
//   dS += scale q_t do_t^T     dS <- e^{g_t} (dS - k_t beta_t (dS^T k_t)^T)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_delta_rule/cpu/backward_states.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Highway's own headers come after foreach_target.h.
#include "kernels/gated_delta_rule/cpu/chunk-inl.h"
#include "kernels/gated_delta_rule/cpu/plan.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE {

struct BackwardStatesBuffers {
  Keys keys;
  Gates gates;
  Matrix d_o;      // [tokens, value columns]
  Matrix dstates;  // [slabs, key_dim, value columns]

  BackwardStatesBuffers(Scratch& scratch, const BackwardStatesCall& call, std::int64_t slabs)
      : keys(scratch, call.inputs.chunks.length, call.inputs.sizes.key_dim),
        gates(scratch, call.inputs.chunks.length),
        d_o(scratch.take_matrix(call.inputs.chunks.length, call.slabs.width)),
        dstates(scratch.take_matrix(slabs * round_up(call.inputs.sizes.key_dim, kPadding), call.slabs.width)) {}
};

// For kVectors vectors of value columns. Each pass over the state takes it to before token t + 1, adds what o_t gives,
// and already gathers dS^T k_t for the pass of the token before.
template <int kVectors>
void go_back(const Keys& keys, const Gates& gates, float scale, std::int64_t tokens, std::int64_t key_dim, Matrix d_o,
             Matrix dstate) {
  FloatVec correction[kVectors];  // -beta dS^T k of the token after
  for (int j = 0; j < kVectors; ++j) correction[j] = hn::Zero(kFloatTag);
  auto decay = broadcast(1);
  const float* later_k = keys.k.row(0);
  for (std::int64_t t = tokens - 1; t >= 0; --t) {
    const float *q = keys.q.row(t), *k = keys.k.row(t);
    FloatVec output[kVectors], recalled[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      output[j] = hn::Mul(broadcast(scale), hn::Load(kFloatTag, d_o.row(t) + j * kLanes));
      recalled[j] = hn::Zero(kFloatTag);
    }
    for (std::int64_t r = 0; r < key_dim; ++r) {
      const auto q_r = broadcast(q[r]), k_r = broadcast(k[r]), later_k_r = broadcast(later_k[r]);
      for (int j = 0; j < kVectors; ++j) {
        float* element = dstate.row(r) + j * kLanes;
        const auto before = hn::Mul(decay, hn::MulAdd(later_k_r, correction[j], hn::Load(kFloatTag, element)));
        const auto ds = hn::MulAdd(q_r, output[j], before);
        hn::Store(ds, kFloatTag, element);
        recalled[j] = hn::MulAdd(k_r, ds, recalled[j]);
      }
    }
    for (int j = 0; j < kVectors; ++j) correction[j] = hn::Mul(broadcast(-gates.beta[t]), recalled[j]);
    decay = broadcast(gates.decay[t]);
    later_k = k;
  }
  for (std::int64_t r = 0; r < key_dim; ++r) {
    for (int j = 0; j < kVectors; ++j) {
      float* element = dstate.row(r) + j * kLanes;
      const auto ds = hn::MulAdd(broadcast(later_k[r]), correction[j], hn::Load(kFloatTag, element));
      hn::Store(hn::Mul(decay, ds), kFloatTag, element);
    }
  }
}

std::int64_t backward_states_scratch_size(const BackwardStatesCall& call, std::int64_t slabs_per_item) {
  Scratch scratch;
  BackwardStatesBuffers(scratch, call, slabs_per_item);
  return scratch.used();
}

void run_backward_states_item(const BackwardStatesCall& call, const Item& item, float* memory) {
  Scratch scratch(memory);
  const Sizes& sizes = call.inputs.sizes;
  BackwardStatesBuffers b(scratch, call, item.end - item.begin);
  const auto columns_of = [&](std::int64_t slab) {
    const std::int64_t first = slab % call.slabs.per_value_head * call.slabs.width;
    return HeadColumns{slab / call.slabs.per_value_head, first, std::min(call.slabs.width, sizes.value_dim - first)};
  };
  const std::int64_t slab_rows = round_up(sizes.key_dim, kPadding);
  fill_zero(b.dstates.data, (item.end - item.begin) * slab_rows * b.dstates.stride);
  for (std::int64_t chunk = call.inputs.chunks.count(item.sequence) - 1; chunk >= 0; --chunk) {
    const Rows tokens = chunk_tokens(call.inputs.chunks, item.sequence, chunk);
    std::int64_t loaded_head = -1;
    for (std::int64_t slab = item.begin; slab < item.end; ++slab) {
      const HeadColumns columns = columns_of(slab);
      if (const std::int64_t head = columns.head / sizes.group(); head != loaded_head) {
        b.keys.load(call.inputs, tokens, head);
        loaded_head = head;
      }
      load_rows(call.d_o, tokens, columns, b.d_o);
      b.gates.load(call.inputs, tokens, columns.head);
      const Matrix dstate = b.dstates.from_row((slab - item.begin) * slab_rows);
      for (std::int64_t column = 0; column < round_up(columns.count, kPadding);) {
        const auto go = [&]<int kVectors>() {
          go_back<kVectors>(b.keys, b.gates, call.inputs.scale, tokens.count(), sizes.key_dim,
                            b.d_o.from_column(column), dstate.from_column(column));
          column += kVectors * kLanes;
        };
        round_up(columns.count, kPadding) - column >= 4 * kLanes ? go.template operator()<4>()
                                                                 : go.template operator()<1>();
      }
    }
  }
  for (std::int64_t slab = item.begin; slab < item.end; ++slab) {
    const HeadColumns columns = columns_of(slab);
    store_rows(b.dstates.from_row((slab - item.begin) * slab_rows), call.dinitial_states,
               state_rows(sizes, item.sequence, columns.head), {0, columns.first, columns.count});
  }
}

}  // namespace mudelta::kernels::gated_delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels::gated_delta_rule {

HWY_EXPORT(backward_states_scratch_size);
HWY_EXPORT(run_backward_states_item);

std::int64_t backward_states_scratch_size(const BackwardStatesCall& call, std::int64_t slabs_per_item) {
  return HWY_DYNAMIC_DISPATCH(backward_states_scratch_size)(call, slabs_per_item);
}

void run_backward_states_item(const BackwardStatesCall& call, const Item& item, float* scratch) {
  HWY_DYNAMIC_DISPATCH(run_backward_states_item)(call, item, scratch);
}

}  // namespace mudelta::kernels::gated_delta_rule
#endif
