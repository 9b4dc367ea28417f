#include "model/mixer.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/gemm_workspace.h"
#include "core/profile_range.h"
#include "kernels/gated_delta_rule/memory.h"
#include "kernels/gated_delta_rule/row_parts.h"
#include "kernels/rms_norm.h"
#include "kernels/row_edges.h"
#include "model/cast.h"
#include "model/config.h"

namespace mudelta {
namespace {

constexpr float kL2NormEps = 1e-6f;

// Of the part that this rank holds, which is the whole without tensor parallelism.
Mixer::Sizes sizes_of(const ModelConfig& c, const Parameter& v_proj) {
  return Mixer::part_sizes(c, static_cast<int>(v_proj.spec.shape[0] / v_proj.local_shape()[0]));
}

// Undefined of an undefined one.
Tensor like(const Tensor& x) { return x ? Tensor::empty(x.shape(), x.dtype(), x.device()) : Tensor(); }

}  // namespace

Mixer::Sizes Mixer::sizes(const ModelConfig& c) {
  return {.width = c.width(),
          .heads = c.heads(),
          .value_heads = c.value_heads(),
          .head_dim = c.head_dim(),
          .value_dim = mudelta::value_dim(c),
          .conv_size = c.conv_size()};
}

Mixer::Sizes Mixer::part_sizes(const ModelConfig& c, int ranks) {
  Sizes s = sizes(c);
  require(s.value_heads % ranks == 0, "model.value_heads is {}: expected a multiple of parallel.tensor, {}",
          s.value_heads, ranks);
  require(s.heads % ranks == 0 || ranks % s.heads == 0,
          "model.heads is {}: expected a multiple or a divisor of parallel.tensor, {}", s.heads, ranks);
  s.heads = std::max<std::int64_t>(s.heads / ranks, 1);
  s.value_heads /= ranks;
  return s;
}

void Mixer::add_specs(const ModelConfig& c, const std::string& prefix, SpecList& specs) {
  using Kind = Initializer::Kind;
  const Sizes s = sizes(c);
  specs.matrix(prefix + "q_proj.weight", Role::kHidden, s.keys(), s.width, 0, s.head_dim);
  specs.matrix(prefix + "k_proj.weight", Role::kHidden, s.keys(), s.width, 0, s.head_dim);
  specs.matrix(prefix + "v_proj.weight", Role::kHidden, s.values(), s.width, 0, s.value_dim);
  specs.matrix(prefix + "a_proj.weight", Role::kGate, s.value_heads, s.width, 0);
  specs.matrix(prefix + "b_proj.weight", Role::kGate, s.value_heads, s.width, 0);
  specs.gate_scalar(prefix + "A_log", s.value_heads, {Kind::kLogOfUniform, 0, 16});
  specs.gate_scalar(prefix + "dt_bias", s.value_heads, {Kind::kInverseSoftplusOfLogUniform, 1e-3, 1e-1});
  specs.taps(prefix + "q_conv1d.weight", s.keys(), s.head_dim);
  specs.taps(prefix + "k_conv1d.weight", s.keys(), s.head_dim);
  specs.taps(prefix + "v_conv1d.weight", s.values(), s.value_dim);
  specs.matrix(prefix + "g_proj.weight", Role::kHidden, s.values(), s.width, 0, s.value_dim);
  specs.gain(prefix + "o_norm.weight", s.value_dim, ParameterSpec::Meets::kHeads);
  specs.matrix(prefix + "o_proj.weight", Role::kHidden, s.width, s.values(), 1, s.value_dim);
}

FlopsPerToken Mixer::flops(const Sizes& s) {
  const auto width = static_cast<double>(s.width), value_heads = static_cast<double>(s.value_heads);
  const auto keys = static_cast<double>(s.keys()), values = static_cast<double>(s.values());
  return {.matrices = 2 * width * (2 * keys + 3 * values + 2 * value_heads),
          .recurrence = 7 * values * static_cast<double>(s.head_dim)};
}

Mixer::PastMemory Mixer::past_memory(const Sizes& s, const PassShape& shape) {
  PastMemory memory;
  if (shape.context_ranks == 1) return memory;
  const DType f32 = DType::kFloat32;
  const std::int64_t parts = shape.sequences, square = s.value_heads * s.head_dim * s.head_dim;
  const std::int64_t state = s.value_heads * s.head_dim * s.value_dim;
  for (const std::int64_t channels : {s.keys(), s.keys(), s.values()}) {
    if (s.conv_size > 1) memory.rows.add({parts, s.conv_size - 1, channels}, f32);
  }
  memory.states.add({parts, state}, f32);
  if (shape.context_ranks > 2) memory.states.add({parts, square}, f32);
  memory.exchanged.add({parts, state + square}, f32);
  memory.exchanged.add({shape.context_ranks, parts, state + square}, f32);
  memory.of_sequences.add({parts, state}, f32);
  return memory;
}

// In the order of forward_add() and backward().
LayerMemory Mixer::memory(const Sizes& s, const PassShape& shape) {
  const DType dtype = shape.compute_dtype, f32 = DType::kFloat32;
  const bool recompute = shape.recompute == ModelConfig::SELECTIVE;
  const std::int64_t keys = s.keys(), values = s.values(), gates = s.value_heads;
  const kernels::GatedDeltaRuleMemory rule =
      kernels::gated_delta_rule_memory({shape.tokens, shape.sequences, s.heads, s.value_heads, s.head_dim, s.value_dim},
                                       dtype, !recompute, shape.device);
  const auto product_backward = [&](std::int64_t in, std::int64_t out, DType of_dx) {
    return linear_backward_workspace(shape.tokens, in, out, dtype, of_dx, shape.device);
  };

  // x, the inputs of the convolutions, z_a and z_b
  const LiveTensors projected = shape.rows({s.width, keys, keys, values}, dtype) + shape.rows({gates, gates}, f32);
  // q, k, v, and the norms of q and k, g and beta
  const LiveTensors rule_inputs =
      shape.rows({keys, keys, values}, dtype) + shape.rows({s.heads, s.heads, gates, gates}, f32);
  const LiveTensors outputs = shape.rows({values, values}, dtype);                       // o and its gate
  const LiveTensors out_input = shape.rows({values}, dtype) + shape.rows({gates}, f32);  // y and o's norms
  const LiveTensors derived = rule_inputs + out_input;
  const PastMemory past = past_memory(s, shape);
  const LiveTensors saved = projected + outputs + rule.saved + past.rows + past.states;

  // Gradients of y, o, the gate and x.
  const LiveTensors before_rule = saved + derived + shape.cast_rows(s.width) +
                                  shape.rows({values, values, values}, dtype) + shape.rows({s.width}, f32);
  const LiveTensors after_rule =
      before_rule + shape.rows({keys, keys, values}, dtype) + shape.rows({gates, gates}, f32);
  const LiveTensors in_rule = after_rule + past.of_sequences + past.of_sequences;  // initial states, dfinal_state
  const LiveTensors end = in_rule + shape.rows({keys, keys, values}, dtype) + past.rows;
  const LiveTensors forward_past = past.rows + past.states + past.of_sequences;
  return {.kept = recompute ? saved : saved + derived,
          .forward = {projected + rule_inputs + past.rows + past.states + past.exchanged,
                      projected + rule_inputs + forward_past + shape.rows({values}, dtype) + rule.forward,
                      projected + rule_inputs + forward_past + outputs + out_input +
                          gemm_workspace(shape.tokens, s.width, values, dtype, f32, shape.device)},
          .backward = {after_rule + past.of_sequences + past.exchanged, in_rule + rule.backward,
                       end + product_backward(s.width, values, f32), end + shape.cast_rows(s.width)}};
}

Observed Mixer::observed() {
  return {.activations = {"q", "k", "v", "z_a", "z_b", "g", "beta", "state", "o", "y"},
          .weights = {{"a_proj.weight", "W_a", "mixer_input"},
                      {"b_proj.weight", "W_b", "mixer_input"},
                      {"q_proj.weight", "W_q", "mixer_input"},
                      {"k_proj.weight", "W_k", "mixer_input"},
                      {"v_proj.weight", "W_v", "mixer_input"},
                      {"g_proj.weight", "W_g", "mixer_input"},
                      {"o_proj.weight", "W_o", "y"},
                      {"A_log", "A_log", ""},
                      {"dt_bias", "dt_bias", ""},
                      {"q_conv1d.weight", "conv q", ""},
                      {"k_conv1d.weight", "conv k", ""},
                      {"v_conv1d.weight", "conv v", ""},
                      {"o_norm.weight", "o_norm", ""}}};
}

Mixer::Mixer(const ModelConfig& c, ParameterStore& store, const std::string& prefix)
    : recompute_(c.recompute() == ModelConfig::SELECTIVE),
      sizes_(sizes_of(c, store.find(prefix + "v_proj.weight"))),
      o_norm_eps_(static_cast<float>(o_norm_eps(c))),
      readout_scale_(std::sqrt(static_cast<float>(c.head_dim()))),
      beta_max_(c.allow_neg_eigval() ? 2.0f : 1.0f),
      q_path_{ColumnLinear(store.find(prefix + "q_proj.weight")), &store.find(prefix + "q_conv1d.weight")},
      k_path_{ColumnLinear(store.find(prefix + "k_proj.weight")), &store.find(prefix + "k_conv1d.weight")},
      v_path_{ColumnLinear(store.find(prefix + "v_proj.weight")), &store.find(prefix + "v_conv1d.weight")},
      a_proj_(store.find(prefix + "a_proj.weight")),
      b_proj_(store.find(prefix + "b_proj.weight")),
      g_proj_(store.find(prefix + "g_proj.weight")),
      o_proj_(store.find(prefix + "o_proj.weight")),
      a_log_(&store.find(prefix + "A_log")),
      dt_bias_(&store.find(prefix + "dt_bias")),
      o_norm_(&store.find(prefix + "o_norm.weight")) {}

MixerState Mixer::make_state(std::int64_t sequences, Device device) const {
  const auto rows = [&](std::int64_t channels) {
    return Tensor::zeros({sequences, sizes_.conv_size - 1, channels}, DType::kFloat32, device);
  };
  const Shape recurrent{sequences, sizes_.value_heads, sizes_.head_dim, sizes_.value_dim};
  return {rows(sizes_.keys()), rows(sizes_.keys()), rows(sizes_.values()),
          Tensor::zeros(recurrent, DType::kFloat32, device)};
}

void Mixer::forward_add(const Tensor& x, const Tensor& residual, MixerState* state, Pass& pass) const {
  const ProfileRange range("mixer forward");
  const DType dtype = pass.compute_dtype;
  const Stream stream = pass.stream;
  require(state == nullptr || !pass.activations.keeps(),
          "[mixer] forward carries a state, which backward has no gradient for: expected Activations::Mode::kDiscard");
  const MixerState carried = state != nullptr ? *state : MixerState();
  Saved s;
  s.x = x;

  const Tensor all = pass.tensor.all_rows(x, stream);
  s.q_in = q_path_.projection.forward(all, dtype, stream);
  s.k_in = k_path_.projection.forward(all, dtype, stream);
  s.v_in = v_path_.projection.forward(all, dtype, stream);
  s.z_a = a_proj_.forward(all, DType::kFloat32, stream);
  s.z_b = b_proj_.forward(all, DType::kFloat32, stream);
  const bool has_past = pass.context.size() > 1;
  if (has_past) take_rows(s, pass);
  Derived derived;
  derive_rule_inputs(s, has_past ? s.past.rows : carried, carried, derived, pass);
  if (has_past) take_states(s, derived, pass);

  s.o = like(derived.v);
  s.rule.keep_states = !recompute_;
  auto inputs = rule_inputs(derived, pass);
  inputs.initial_state = has_past ? initial_states(s, pass) : carried.recurrent;
  kernels::gated_delta_rule_forward(inputs, s.o, carried.recurrent, pass.activations.keeps() ? &s.rule : nullptr,
                                    kernels::GatedDeltaRuleAlgorithm::kAuto, stream);

  s.gate = g_proj_.forward(all, dtype, stream);
  derive_output(s, derived, pass);
  pass.observe("mixer_input", x);
  if (state != nullptr) pass.observe("state", state->recurrent);
  pass.observe("o", s.o);
  pass.observe("y", derived.y);
  o_proj_.forward_add(derived.y, residual, pass);
  if (!recompute_) s.derived = std::move(derived);
  pass.activations.push(std::move(s));
}

Tensor Mixer::backward(const Tensor& dy_float32, Pass& pass) const {
  const ProfileRange range("mixer backward");
  auto s = pass.activations.pop<Saved>();
  Derived& d = s.derived;
  if (recompute_) {
    derive_rule_inputs(s, s.past.rows, {}, d, pass);
    derive_output(s, d, pass);
  }
  const DType dtype = pass.compute_dtype;
  const Stream stream = pass.stream;
  const Tensor x = pass.tensor.all_rows(s.x, stream);
  const Tensor dout = pass.tensor.all_rows(cast(dy_float32, dtype, stream), stream);

  const Tensor dy = like(d.y);
  o_proj_.backward(d.y, dout, dy, stream);
  const Tensor d_o = like(s.o);
  const Tensor dgate = like(s.gate);
  const Shape per_head{x.size(0) * sizes_.value_heads, sizes_.value_dim};
  kernels::gated_rms_norm_backward(s.o.view(per_head), s.gate.view(per_head), o_norm_->value, d.o_rstd,
                                   dy.view(per_head), d_o.view(per_head), dgate.view(per_head), o_norm_->gradient,
                                   stream);

  const Tensor dx = Tensor::empty(x.shape(), DType::kFloat32, x.device());
  g_proj_.backward(x, dgate, dx, false, stream);

  const Tensor dq = like(d.q), dk = like(d.k), dv = like(d.v), dg = like(d.g), dbeta = like(d.beta);
  auto inputs = rule_inputs(d, pass);
  inputs.initial_state = initial_states(s, pass);
  const Tensor dfinal_state = states_gradient(s, inputs, d_o, pass);
  kernels::gated_delta_rule_backward(inputs, s.rule, d_o, dfinal_state, {dq, dk, dv, dg, dbeta, {}}, stream);

  kernels::gates_backward({s.z_a, s.z_b, a_log_->value, dt_bias_->value, beta_max_}, dg, dbeta,
                          {dg, dbeta, a_log_->gradient, dt_bias_->gradient}, stream);
  a_proj_.backward(x, cast(dg, dtype, stream), dx, true, stream);
  b_proj_.backward(x, cast(dbeta, dtype, stream), dx, true, stream);

  const MixerState& before = s.past.rows;
  const Tensor dbefore[] = {like(before.q_rows), like(before.k_rows), like(before.v_rows)};
  const auto q_conv = conv_inputs(q_path_, s.q_in, before.q_rows, pass);
  const Tensor dq_in = unit_vectors_backward(q_path_, q_conv, d.q, d.q_rstd, dq, dbefore[0], pass);
  const auto k_conv = conv_inputs(k_path_, s.k_in, before.k_rows, pass);
  const Tensor dk_in = unit_vectors_backward(k_path_, k_conv, d.k, d.k_rstd, dk, dbefore[1], pass);
  const auto v_conv = conv_inputs(v_path_, s.v_in, before.v_rows, pass);
  const Tensor dv_in = like(s.v_in);
  kernels::short_conv_backward(v_conv, dv.view(s.v_in.shape()), {dv_in, taps_gradient(v_path_), dbefore[2]}, stream);
  const Tensor dxs[] = {dq_in, dk_in, dv_in};
  if (pass.context.size() > 1) pass.context.add_row_gradients(dbefore, pass.edges, dxs, stream);
  q_path_.projection.backward(x, dq_in, dx, true, stream);
  k_path_.projection.backward(x, dk_in, dx, true, stream);
  v_path_.projection.backward(x, dv_in, dx, true, stream);
  return pass.tensor.sum(cast(dx, dtype, stream), stream);
}

// q, k, v, g and beta.
void Mixer::derive_rule_inputs(const Saved& s, const MixerState& before, const MixerState& last, Derived& derived,
                               const Pass& pass) const {
  derived.q = unit_vectors(q_path_, "q", s.q_in, before.q_rows, last.q_rows, derived.q_rstd, pass);
  derived.k = unit_vectors(k_path_, "k", s.k_in, before.k_rows, last.k_rows, derived.k_rstd, pass);
  const Tensor v = like(s.v_in);
  kernels::short_conv_forward(conv_inputs(v_path_, s.v_in, before.v_rows, pass), v, last.v_rows, pass.stream);
  derived.v = v.view({s.v_in.size(0), sizes_.value_heads, sizes_.value_dim});
  derived.g = like(s.z_a);
  derived.beta = like(s.z_b);
  kernels::gates_forward({s.z_a, s.z_b, a_log_->value, dt_bias_->value, beta_max_}, derived.g, derived.beta,
                         pass.stream);
  pass.observe("v", derived.v);
  pass.observe("z_a", s.z_a);
  pass.observe("z_b", s.z_b);
  pass.observe("g", derived.g);
  pass.observe("beta", derived.beta);
}

// y, the input of W_o.
void Mixer::derive_output(const Saved& s, Derived& derived, const Pass& pass) const {
  const Shape per_head{s.v_in.size(0) * sizes_.value_heads, sizes_.value_dim};
  derived.o_rstd = Tensor::empty({per_head[0]}, DType::kFloat32, s.x.device());
  derived.y = like(s.gate);
  kernels::gated_rms_norm_forward(s.o.view(per_head), s.gate.view(per_head), o_norm_->value, o_norm_eps_,
                                  derived.y.view(per_head), derived.o_rstd, pass.stream);
}

void Mixer::take_rows(Saved& s, const Pass& pass) const {
  const Tensor xs[] = {s.q_in, s.k_in, s.v_in};
  const auto rows =
      pass.context.rows_before(xs, pass.edges, pass.cu_seqlens.numel() - 1, sizes_.conv_size, pass.stream);
  s.past.rows = {rows[0], rows[1], rows[2], {}};
}

// What only the ranks after the last one, or before the first, would use is not computed.
void Mixer::take_states(Saved& s, const Derived& derived, const Pass& pass) const {
  const ContextGroup& context = pass.context;
  const PartStates own = part_states(pass);
  if (!context.is_last()) {
    kernels::row_part_states(rule_inputs(derived, pass), pass.edges, own.states,
                             context.is_first() ? Tensor() : own.transitions, pass.stream);
  }
  s.past.states = context.states_before(own, pass.stream);
  if (!context.is_first() && !context.is_last()) s.past.transitions = own.transitions.clone();
}

Tensor Mixer::states_gradient(const Saved& s, const kernels::GatedDeltaRuleInputs& inputs, const Tensor& d_o,
                              const Pass& pass) const {
  if (pass.context.size() == 1) return {};
  const PartStates own = part_states(pass);
  if (!pass.context.is_first()) {
    kernels::row_part_dstates(inputs, s.rule, pass.edges, d_o, own.states, pass.stream);
    if (s.past.transitions) own.transitions.copy_from(s.past.transitions);
  }
  const Tensor after = pass.context.dstates_after(own, pass.stream);
  const Tensor dfinal_state = like(inputs.initial_state);
  kernels::put_at_edges(kernels::Edge::kEnd, pass.edges, after, dfinal_state, pass.stream);
  return dfinal_state;
}

PartStates Mixer::part_states(const Pass& pass) const {
  return PartStates::zeros(pass.edges.size(0), sizes_.value_heads, sizes_.head_dim, sizes_.value_dim,
                           pass.edges.device());
}

Tensor Mixer::initial_states(const Saved& s, const Pass& pass) const {
  if (!s.past.states) return {};
  const Tensor states =
      Tensor::empty({pass.cu_seqlens.numel() - 1, sizes_.value_heads, sizes_.head_dim, sizes_.value_dim},
                    DType::kFloat32, pass.edges.device());
  kernels::put_at_edges(kernels::Edge::kBegin, pass.edges, s.past.states, states, pass.stream);
  return states;
}

kernels::ShortConvInputs Mixer::conv_inputs(const ConvPath& path, const Tensor& x, const Tensor& before,
                                            const Pass& pass) const {
  return {x, path.taps->value.view({x.size(1), sizes_.conv_size}), pass.cu_seqlens, before};
}

Tensor Mixer::taps_gradient(const ConvPath& path) const {
  const Tensor& gradient = path.taps->gradient;
  return gradient.view({gradient.numel() / sizes_.conv_size, sizes_.conv_size});
}

Tensor Mixer::unit_vectors(const ConvPath& path, std::string_view name, const Tensor& x, const Tensor& before,
                           const Tensor& last, Tensor& rstd, const Pass& pass) const {
  const kernels::ShortConvInputs inputs = conv_inputs(path, x, before, pass);
  if (pass.observer) {
    const Tensor observed = like(x);
    kernels::short_conv_forward(inputs, observed, {}, pass.stream);
    pass.observe(name, observed);
  }
  const Tensor unit = Tensor::empty({x.size(0), sizes_.heads, sizes_.head_dim}, x.dtype(), x.device());
  rstd = Tensor::empty({x.size(0), sizes_.heads}, DType::kFloat32, x.device());
  kernels::short_conv_l2_norm_forward(inputs, kL2NormEps, unit, rstd, last, pass.stream);
  return unit;
}

Tensor Mixer::unit_vectors_backward(const ConvPath& path, const kernels::ShortConvInputs& inputs, const Tensor& unit,
                                    const Tensor& rstd, const Tensor& dunit, const Tensor& dbefore,
                                    const Pass& pass) const {
  const Tensor dx = like(inputs.x);
  kernels::short_conv_l2_norm_backward(inputs, unit, rstd, dunit, {dx, taps_gradient(path), dbefore}, pass.stream);
  return dx;
}

kernels::GatedDeltaRuleInputs Mixer::rule_inputs(const Derived& derived, const Pass& pass) const {
  return {derived.q, derived.k, derived.v, derived.g, derived.beta, pass.cu_seqlens, {}, readout_scale_};
}

}  // namespace mudelta
