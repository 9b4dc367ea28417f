#include "tests/oracle/language_model.h"

#include <cmath>
#include <numeric>

#include "model/config.h"
#include "model/parameters.h"
#include "tests/oracle/gated_delta_rule.h"

namespace mudelta::oracle {
namespace {

using Vector = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double softplus(double x) { return std::log1p(std::exp(x)); }

std::vector<std::int32_t> ints_of(const Tensor& tensor) {
  const auto values = tensor.span<std::int32_t>();
  return {values.begin(), values.end()};
}

void add(Vector& x, double factor, const Vector& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += factor * y[i];
}

// Rows of `dim`, each divided by sqrt(factor * sum of squares + eps).
Vector normed(const Vector& x, std::size_t dim, double factor, double eps) {
  Vector y(x.size());
  for (std::size_t row = 0; row < x.size(); row += dim) {
    double sum = 0;
    for (std::size_t i = row; i < row + dim; ++i) sum += x[i] * x[i];
    for (std::size_t i = row; i < row + dim; ++i) y[i] = x[i] / std::sqrt(factor * sum + eps);
  }
  return y;
}

Vector rms_norm(const Vector& x, const Vector& gain, double eps) {
  Vector y = normed(x, gain.size(), 1 / static_cast<double>(gain.size()), eps);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= gain[i % gain.size()];
  return y;
}

// y [rows, out] = x [rows, in] w^T, w [out, in].
Vector linear(const Vector& x, const Vector& w, std::size_t in) {
  const std::size_t rows = x.size() / in, out = w.size() / in;
  Vector y(rows * out);
  for (std::size_t t = 0; t < rows; ++t) {
    for (std::size_t j = 0; j < out; ++j)
      y[t * out + j] = std::inner_product(&x[t * in], &x[t * in] + in, &w[j * in], 0.0);
  }
  return y;
}

// x [tokens, channels], w [channels, taps]: silu of the causal convolution of the sequence [begin, end).
void short_conv(const Vector& x, const Vector& w, std::size_t taps, std::size_t begin, std::size_t end, Vector& y) {
  const std::size_t channels = w.size() / taps;
  for (std::size_t t = begin; t < end; ++t) {
    for (std::size_t c = 0; c < channels; ++c) {
      double z = 0;
      for (std::size_t back = 0; back < taps && begin + back <= t; ++back) {
        z += w[c * taps + taps - 1 - back] * x[(t - back) * channels + c];
      }
      y[t * channels + c] = silu(z);
    }
  }
}

}  // namespace

Weights weights_of(const ParameterStore& store) {
  Weights weights;
  for (const Parameter& parameter : store.parameters()) {
    const auto values = parameter.value.to(DType::kFloat32);
    weights[parameter.spec.name].assign(values.span<float>().begin(), values.span<float>().end());
  }
  return weights;
}

LanguageModel::LanguageModel(const ModelConfig& resolved, const PackedTokens& input, const Tensor& targets,
                             const ForwardMultipliers& multipliers)
    : config_(resolved),
      tokens_(ints_of(input.tokens)),
      cu_seqlens_(ints_of(input.cu_seqlens)),
      targets_(ints_of(targets)),
      multipliers_(multipliers) {}

Vector LanguageModel::losses(const Weights& weights) const {
  const Vector& embeddings = weights.at("model.embeddings.weight");
  const Vector& head = config_.tie_embeddings() ? embeddings : weights.at("lm_head.weight");
  const auto width = static_cast<std::size_t>(config_.width()), vocab = embeddings.size() / width;
  const double eps = config_.norm_eps();

  Vector x;
  for (const std::int32_t token : tokens_) {
    const auto row = embeddings.begin() + token * config_.width();
    x.insert(x.end(), row, row + config_.width());
  }
  for (int layer = 0; layer < config_.layers(); ++layer) {
    const std::string prefix = layer_prefix(layer);
    add(x, multipliers_.residual,
        mixer(rms_norm(x, weights.at(prefix + "attn_norm.weight"), eps), weights, prefix + "attn."));
    add(x, multipliers_.residual,
        mlp(rms_norm(x, weights.at(prefix + "mlp_norm.weight"), eps), weights, prefix + "mlp."));
  }
  const Vector logits = linear(rms_norm(x, weights.at("model.norm.weight"), eps), head, width);

  Vector losses(tokens_.size(), 0.0);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    if (targets_[t] < 0) continue;
    const double* row = &logits[t * vocab];
    double sum = 0;
    for (std::size_t i = 0; i < vocab; ++i) sum += std::exp(multipliers_.logits * row[i]);
    losses[t] = std::log(sum) - multipliers_.logits * row[targets_[t]];
  }
  return losses;
}

double LanguageModel::total_loss(const Weights& weights) const {
  const Vector each = losses(weights);
  return std::accumulate(each.begin(), each.end(), 0.0);
}

Vector LanguageModel::mixer(const Vector& x, const Weights& weights, const std::string& prefix) const {
  const auto w = [&](const char* name) -> const Vector& { return weights.at(prefix + name); };
  const auto width = static_cast<std::size_t>(config_.width());
  const auto key_dim = static_cast<std::size_t>(config_.head_dim()), value_heads = w("A_log").size();

  const auto conv = [&](const Vector& in, const Vector& taps) {
    Vector out(in.size());
    for (std::size_t i = 0; i + 1 < cu_seqlens_.size(); ++i) {
      const auto begin = static_cast<std::size_t>(cu_seqlens_[i]), end = static_cast<std::size_t>(cu_seqlens_[i + 1]);
      short_conv(in, taps, static_cast<std::size_t>(config_.conv_size()), begin, end, out);
    }
    return out;
  };
  const Vector q = normed(conv(linear(x, w("q_proj.weight"), width), w("q_conv1d.weight")), key_dim, 1, 1e-6);
  const Vector k = normed(conv(linear(x, w("k_proj.weight"), width), w("k_conv1d.weight")), key_dim, 1, 1e-6);
  const Vector v = conv(linear(x, w("v_proj.weight"), width), w("v_conv1d.weight"));
  const Vector z_a = linear(x, w("a_proj.weight"), width), z_b = linear(x, w("b_proj.weight"), width);
  Vector g(z_a.size()), beta(z_b.size());
  for (std::size_t i = 0; i < g.size(); ++i) {
    const std::size_t head = i % value_heads;
    g[i] = -std::exp(w("A_log")[head]) * softplus(z_a[i] + w("dt_bias")[head]);
    beta[i] = (config_.allow_neg_eigval() ? 2 : 1) * sigmoid(z_b[i]);
  }
  // In flash-linear-attention's units, head_dim times smaller than the program's.
  const GatedDeltaRule rule{
      .heads = config_.heads(),
      .value_heads = config_.value_heads(),
      .key_dim = config_.head_dim(),
      .value_dim = value_dim(config_),
      .scale = std::pow(config_.head_dim(), -0.5),
      .cu_seqlens = cu_seqlens_,
      .q = q,
      .k = k,
      .v = v,
      .g = g,
      .beta = beta,
      .initial_state = Vector((cu_seqlens_.size() - 1) * value_heads * key_dim * w("o_norm.weight").size(), 0.0)};

  Vector y = rms_norm(rule.forward().o, w("o_norm.weight"), o_norm_eps(config_) / std::pow(config_.head_dim(), 2));
  const Vector gate = linear(x, w("g_proj.weight"), width);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= silu(gate[i]);
  return linear(y, w("o_proj.weight"), v.size() / tokens_.size());
}

Vector LanguageModel::mlp(const Vector& x, const Weights& weights, const std::string& prefix) const {
  const auto width = static_cast<std::size_t>(config_.width());
  Vector hidden = linear(x, weights.at(prefix + "gate_proj.weight"), width);
  const Vector up = linear(x, weights.at(prefix + "up_proj.weight"), width);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = silu(hidden[i]) * up[i];
  return linear(hidden, weights.at(prefix + "down_proj.weight"), static_cast<std::size_t>(config_.mlp_size()));
}

}  // namespace mudelta::oracle
