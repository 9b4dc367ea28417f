#include "launch/transfer/coord_check/coord_check_probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "core/gemm.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"

namespace mudelta {
namespace {

// In the order of the tables.
constexpr std::array<std::string_view, 15> kActivations = {
    "embedding", "q", "k", "v", "z_a", "z_b", "g", "beta", "state", "o", "y", "mixer", "mlp", "residual", "logits"};

// How a parameter is called in tables, by a part of its name, and which activation its matrix multiplies.
struct ParameterLabel {
  std::string_view part, label, input;
};
constexpr std::array<ParameterLabel, 20> kParameters = {{
    {"attn.a_proj", "W_a", "mixer_input"},
    {"attn.b_proj", "W_b", "mixer_input"},
    {"attn.q_proj", "W_q", "mixer_input"},
    {"attn.k_proj", "W_k", "mixer_input"},
    {"attn.v_proj", "W_v", "mixer_input"},
    {"attn.g_proj", "W_g", "mixer_input"},
    {"attn.o_proj", "W_o", "y"},
    {"mlp.gate_proj", "MLP gate", "mlp_input"},
    {"mlp.up_proj", "MLP up", "mlp_input"},
    {"mlp.down_proj", "MLP down", "mlp_hidden"},
    {"A_log", "A_log", ""},
    {"dt_bias", "dt_bias", ""},
    {"q_conv1d", "conv q", ""},
    {"k_conv1d", "conv k", ""},
    {"v_conv1d", "conv v", ""},
    {"o_norm", "o_norm", ""},
    {"attn_norm", "norm", ""},
    {"mlp_norm", "norm", ""},
    {"model.norm", "norm", ""},
    {"model.embeddings", "embedding", ""},
}};

const ParameterLabel* label_of(const std::string& name) {
  const auto* found = std::ranges::find_if(
      kParameters, [&](const ParameterLabel& l) { return name.find(l.part) != std::string::npos; });
  return found == kParameters.end() ? nullptr : found;
}

// Of "model.layers.3.attn.A_log": 3; -1 outside of the layers.
int layer_of(const std::string& name) {
  constexpr std::string_view kPrefix = "model.layers.";
  return name.starts_with(kPrefix) ? std::stoi(name.substr(kPrefix.size())) : -1;
}

Tensor difference(const Tensor& a, const Tensor& b) {
  const Tensor result = Tensor::empty(a.shape());
  std::ranges::transform(a.span<float>(), b.span<float>(), result.data<float>(), std::minus<>());
  return result;
}

// x [tokens, in], w [out, in] -> x w^T.
Tensor product(const Tensor& x, const Tensor& w) {
  const Tensor y = Tensor::empty({x.size(0), w.size(0)});
  gemm(x, w, y, {.transpose_b = true}, Stream());
  return y;
}

// Root mean squares over several tensors of the same name, in the order in which names come up.
class RmsTable {
 public:
  void add(std::string_view name, const Tensor& tensor) {
    auto found = std::ranges::find(names_, name);
    if (found == names_.end()) {
      names_.emplace_back(name);
      sums_.push_back({});
      found = names_.end() - 1;
    }
    Sum& sum = sums_[static_cast<std::size_t>(found - names_.begin())];
    for (const float x : tensor.span<float>()) sum.squares += static_cast<double>(x) * x;
    sum.count += static_cast<double>(tensor.numel());
  }

  void append_to(std::vector<CoordMeasurement>& result, CoordKind kind, std::int64_t step) const {
    for (std::size_t i = 0; i < names_.size(); ++i) {
      result.push_back({kind, names_[i], step, std::sqrt(sums_[i].squares / sums_[i].count)});
    }
  }

 private:
  struct Sum {
    double squares = 0, count = 0;
  };
  std::vector<std::string> names_;
  std::vector<Sum> sums_;
};

}  // namespace

CoordProbe::CoordProbe(Trainer& trainer, Batch batch) : trainer_(trainer), batch_(std::move(batch)) {
  initial_weights_ = weights();
  initial_activations_ = run();
}

void CoordProbe::before_step() { weights_before_step_ = weights(); }

std::vector<Tensor> CoordProbe::weights() const {
  std::vector<Tensor> copies;
  for (const Parameter& parameter : trainer_.store().parameters()) copies.push_back(parameter.value.clone());
  return copies;
}

CoordProbe::Activations CoordProbe::run() const {
  Activations seen;
  Tensor residual;
  // What a block adds to the residual stream is the difference that it makes: first its mixer's, then its MLP's.
  const auto observe = [&](std::string_view name, int layer, const Tensor& tensor) {
    const Tensor copy = tensor.clone();
    if (name == "residual" && layer < 0) seen[{"embedding", layer}] = copy;
    if (name == "residual" && layer >= 0) {
      const bool after_mixer = !seen.contains({"mixer", layer});
      seen[{after_mixer ? "mixer" : "mlp", layer}] = difference(copy, residual);
      seen[{"residual", layer}] = copy;
    }
    if (name == "residual")
      residual = copy;
    else
      seen[{std::string(name), layer}] = copy;
  };
  DecodeState state = trainer_.model().make_state(batch_.cu_seqlens.numel() - 1);
  trainer_.model().logits({batch_.tokens, batch_.cu_seqlens}, &state, Stream(), observe);
  for (std::size_t layer = 0; layer < state.layers.size(); ++layer) {
    seen[{"state", static_cast<int>(layer)}] = state.layers[layer].recurrent;
  }
  return seen;
}

std::vector<CoordMeasurement> CoordProbe::measure() const {
  const std::int64_t step = trainer_.steps_done();
  const Activations now = run();
  RmsTable values, changes, own;
  for (const std::string_view name : kActivations) {
    for (const auto& [key, tensor] : now) {
      if (key.first != name) continue;
      values.add(name, tensor);
      // The embedding's change is its parameter's own.
      if (name != "embedding") changes.add(name, difference(tensor, initial_activations_.at(key)));
    }
  }
  std::vector<CoordMeasurement> result;
  values.append_to(result, CoordKind::kValue, step);
  if (step == 0) return result;

  for (const ParameterLabel& wanted : kParameters) {
    for (std::size_t i = 0; i < initial_weights_.size(); ++i) {
      if (label_of(trainer_.store().parameters()[i].spec.name) == &wanted) own.add(wanted.label, contribution(i, now));
    }
  }
  own.add("readout", readout_contribution(now));
  changes.append_to(result, CoordKind::kChange, step);
  own.append_to(result, CoordKind::kOwn, step);

  RmsTable gradients, updates;
  for (std::size_t i = 0; i < weights_before_step_.size(); ++i) {
    const Parameter& parameter = trainer_.store().parameters()[i];
    gradients.add(name_of(parameter.spec.role), parameter.gradient);
    updates.add(name_of(parameter.spec.role), difference(parameter.value, weights_before_step_[i]));
  }
  gradients.append_to(result, CoordKind::kGradient, step);
  updates.append_to(result, CoordKind::kUpdate, step);
  return result;
}

Tensor CoordProbe::contribution(std::size_t parameter, const Activations& inputs) const {
  const std::string& name = trainer_.store().parameters()[parameter].spec.name;
  const Tensor change = weight_change(parameter);
  const ParameterLabel& label = *label_of(name);
  if (!label.input.empty()) return product(inputs.at({std::string(label.input), layer_of(name)}), change);
  if (label.label != "embedding") return change;
  const Tensor rows = Tensor::empty({batch_.tokens.numel(), change.size(1)});
  kernels::embedding_forward(change, batch_.tokens, rows, Stream());
  return rows;
}

Tensor CoordProbe::readout_contribution(const Activations& inputs) const {
  const auto parameters = trainer_.store().parameters();
  const bool tied = trainer_.config().model().tie_embeddings();
  const std::string_view name = tied ? "model.embeddings.weight" : "lm_head.weight";
  const auto found = std::ranges::find(parameters, name, [](const Parameter& p) { return p.spec.name; });
  const Tensor change = weight_change(static_cast<std::size_t>(found - parameters.begin()));
  const Tensor logits = product(inputs.at({"readout_input", -1}), change);
  kernels::scale(logits, static_cast<float>(trainer_.parametrization().logit_multiplier()), Stream());
  return logits;
}

Tensor CoordProbe::weight_change(std::size_t parameter) const {
  return difference(trainer_.store().parameters()[parameter].value, initial_weights_[parameter]);
}

}  // namespace mudelta
