#include "launch/transfer/coord_check/coord_check_probe.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "core/gemm.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

// What tables list of the parameters: matrices that multiply an activation first.
std::vector<ObservedWeight> weights_of_tables() {
  std::vector<ObservedWeight> weights = LanguageModel::observed().weights;
  std::ranges::stable_partition(weights, [](const ObservedWeight& weight) { return !weight.input.empty(); });
  return weights;
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

CoordProbe::CoordProbe(Trainer& trainer, Batch batch)
    : trainer_(trainer),
      whole_(trainer.config(), trainer.parametrization().forward_multipliers(), kForInference),
      batch_(std::move(batch)) {
  fetch_weights();
  initial_weights_ = weights_;
  initial_activations_ = run();
}

void CoordProbe::before_step() { weights_before_step_ = trainer_.whole_weights(); }

void CoordProbe::fetch_weights() {
  weights_ = trainer_.whole_weights();
  for (std::size_t i = 0; i < weights_.size(); ++i) whole_.store.parameters()[i].value.copy_from(weights_[i]);
}

CoordProbe::Activations CoordProbe::run() const {
  Activations seen;
  Tensor residual;
  const auto multiplier = static_cast<float>(trainer_.parametrization().forward_multipliers().residual);
  // The stream, which passes show without the multiplier of what is added to it.
  const auto multiplied = [multiplier](const Tensor& residual) {
    const Tensor copy = residual.clone();
    if (multiplier != 1) kernels::scale(copy, multiplier, Stream());
    return copy;
  };
  // What a block adds to the residual stream is the difference that it makes: first its mixer's, then its MLP's.
  const auto observe = [&](std::string_view name, int layer, const Tensor& tensor) {
    const Tensor copy = tensor.clone();
    if (name == "residual" && layer < 0) seen[{"embedding", layer}] = multiplied(copy);
    if (name == "residual" && layer >= 0) {
      const bool after_mixer = !seen.contains({"mixer", layer});
      seen[{after_mixer ? "mixer" : "mlp", layer}] = difference(copy, residual);
      seen[{"residual", layer}] = multiplied(copy);
    }
    if (name == "residual")
      residual = copy;
    else
      seen[{std::string(name), layer}] = copy;
  };
  DecodeState state = whole_.model.make_state(batch_.cu_seqlens.numel() - 1);
  whole_.model.logits({batch_.tokens, batch_.cu_seqlens}, &state, Stream(), observe);
  return seen;
}

std::vector<CoordMeasurement> CoordProbe::measure() {
  const std::int64_t step = trainer_.steps_done();
  fetch_weights();
  const Activations now = run();
  RmsTable values, changes, own;
  for (const std::string_view name : LanguageModel::observed().activations) {
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

  for (const ObservedWeight& wanted : weights_of_tables()) {
    for (std::size_t i = 0; i < initial_weights_.size(); ++i) {
      const auto [layer, name] = place_of(whole_.store.parameters()[i].spec.name);
      if (name == wanted.parameter) own.add(wanted.label, contribution(i, wanted, layer, now));
    }
  }
  own.add("readout", readout_contribution(now));
  changes.append_to(result, CoordKind::kChange, step);
  own.append_to(result, CoordKind::kOwn, step);

  RmsTable gradient_table, updates;
  const std::vector<Tensor> gradients = trainer_.whole_gradients();
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const std::string_view role = name_of(whole_.store.parameters()[i].spec.role);
    gradient_table.add(role, gradients[i]);
    updates.add(role, difference(weights_[i], weights_before_step_[i]));
  }
  gradient_table.append_to(result, CoordKind::kGradient, step);
  updates.append_to(result, CoordKind::kUpdate, step);
  return result;
}

Tensor CoordProbe::contribution(std::size_t parameter, const ObservedWeight& observed, int layer,
                                const Activations& inputs) const {
  const Tensor change = weight_change(parameter);
  if (!observed.input.empty()) return product(inputs.at({std::string(observed.input), layer}), change);
  if (observed.label != "embedding") return change;
  const Tensor rows = Tensor::empty({batch_.tokens.numel(), change.size(1)});
  kernels::embedding_forward(change, batch_.tokens, rows, Stream());
  return rows;
}

Tensor CoordProbe::readout_contribution(const Activations& inputs) const {
  const auto parameters = whole_.store.parameters();
  const bool tied = trainer_.config().model().tie_embeddings();
  const std::string_view name = tied ? "model.embeddings.weight" : "lm_head.weight";
  const auto found = std::ranges::find(parameters, name, [](const Parameter& p) { return p.spec.name; });
  const Tensor change = weight_change(static_cast<std::size_t>(found - parameters.begin()));
  const Tensor logits = product(inputs.at({"readout_input", -1}), change);
  kernels::scale(logits, static_cast<float>(trainer_.parametrization().forward_multipliers().logits), Stream());
  return logits;
}

Tensor CoordProbe::weight_change(std::size_t parameter) const {
  return difference(weights_[parameter], initial_weights_[parameter]);
}

}  // namespace mudelta
