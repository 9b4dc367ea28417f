#include "model/language_model.h"

#include "core/gemm.h"
#include "core/profile_range.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

LiveTensors loss_workspace(const ModelConfig& c, const PassShape& shape) {
  return kernels::cross_entropy_workspace(shape.tokens, c.vocab_size(), c.vocab_size(), c.width(), shape.compute_dtype,
                                          shape.device);
}

}  // namespace

Observed LanguageModel::observed() {
  Observed all{.activations = {"embedding"}, .weights = {}};
  all.append(Block::observed(), "");
  all.append({.activations = {"logits"},
              .weights = {{"model.norm.weight", "norm", ""}, {"model.embeddings.weight", "embedding", ""}}},
             "");
  return all;
}

std::vector<LiveTensors> LanguageModel::training_memory(const ModelConfig& c, const PassShape& shape) {
  const LayerMemory block = Block::memory(Block::sizes(c), shape);
  const LiveTensors input = shape.rows({1, 1}, DType::kInt32), last = shape.rows({c.width()}, shape.compute_dtype);
  const LiveTensors outside = input + shape.rows({1}, DType::kFloat32) + last + last;  // losses, output, its gradient
  LiveTensors kept;
  kept.add(static_cast<double>(c.layers() - 1), block.kept);

  std::vector<LiveTensors> moments;
  for (const LiveTensors& moment : block.forward) moments.push_back(input + kept + moment);
  moments.push_back(outside + kept + block.kept + Norm::kept(c.width(), shape) + loss_workspace(c, shape));
  const LiveTensors dx = shape.rows({c.width()}, DType::kFloat32);
  for (const LiveTensors& moment : block.backward) moments.push_back(outside + dx + kept + moment);
  return moments;
}

std::vector<LiveTensors> LanguageModel::inference_memory(const ModelConfig& c, const PassShape& shape) {
  const LiveTensors input = shape.rows({1, 1}, DType::kInt32);
  std::vector<LiveTensors> moments;
  for (const LiveTensors& moment : Block::memory(Block::sizes(c), shape).forward) moments.push_back(input + moment);
  moments.push_back(input + shape.rows({1}, DType::kFloat32) + shape.rows({c.width()}, shape.compute_dtype) +
                    loss_workspace(c, shape));
  return moments;
}

LanguageModel::LanguageModel(const ModelConfig& resolved, ParameterStore& store, DType compute_dtype,
                             double logit_multiplier)
    : config_(resolved),
      compute_dtype_(compute_dtype),
      logit_multiplier_(static_cast<float>(logit_multiplier)),
      embeddings_(&store.find("model.embeddings.weight")),
      readout_(resolved.tie_embeddings() ? embeddings_ : &store.find("lm_head.weight")),
      norm_(store.find("model.norm.weight"), resolved.norm_eps()) {
  blocks_.reserve(static_cast<std::size_t>(resolved.layers()));
  for (int layer = 0; layer < resolved.layers(); ++layer) {
    blocks_.emplace_back(resolved, store, layer);
    const Parameter& first = store.find(layer_prefix(layer) + "attn_norm.weight");
    first_parameters_.push_back(static_cast<std::size_t>(&first - store.parameters().data()));
  }
}

Tensor LanguageModel::losses(const PackedTokens& input, const Tensor& targets, Stream stream) const {
  Pass pass = make_pass(input, Activations::Mode::kDiscard, stream);
  const Tensor losses = Tensor::empty(targets.shape(), DType::kFloat32, targets.device());
  kernels::cross_entropy_forward({hidden(input, nullptr, pass), readout_->value, targets, logit_multiplier_}, losses,
                                 stream);
  return losses;
}

Tensor LanguageModel::losses_and_gradients(const PackedTokens& input, const Tensor& targets, double gradient_scale,
                                           Stream stream, const GradientsFinal& final) const {
  Pass pass = make_pass(input, Activations::Mode::kKeep, stream);
  const Tensor last = hidden(input, nullptr, pass);
  const Tensor losses = Tensor::empty(targets.shape(), DType::kFloat32, targets.device());
  const Tensor dlast = Tensor::empty(last.shape(), last.dtype(), last.device());
  kernels::cross_entropy_forward_backward({last, readout_->value, targets, logit_multiplier_},
                                          static_cast<float>(gradient_scale), losses, dlast, readout_->gradient,
                                          stream);

  const Tensor dx = Tensor::zeros(last.shape(), DType::kFloat32, last.device());
  norm_.backward(dlast, dx, pass);
  for (std::size_t layer = blocks_.size(); layer-- > 0;) {
    blocks_[layer].backward(dx, pass);
    if (final) final(first_parameters_[layer]);
  }
  kernels::embedding_backward(input.tokens, dx, embeddings_->gradient, stream);
  CHECK(pass.activations.empty());
  return losses;
}

Tensor LanguageModel::logits(const PackedTokens& input, DecodeState* state, Stream stream,
                             const Observer& observer) const {
  Pass pass = make_pass(input, Activations::Mode::kDiscard, stream);
  pass.observer = observer;
  const Tensor last = hidden(input, state, pass);
  const Tensor logits = Tensor::empty({last.size(0), readout_->value.size(0)}, DType::kFloat32, last.device());
  gemm(last, readout_->value, logits, {.transpose_b = true}, stream);
  kernels::scale(logits, logit_multiplier_, stream);
  pass.observe("readout_input", last);
  pass.observe("logits", logits);
  return logits;
}

DecodeState LanguageModel::make_state(std::int64_t sequences) const {
  DecodeState state;
  for (const Block& block : blocks_) state.layers.push_back(block.make_state(sequences, embeddings_->value.device()));
  return state;
}

Tensor LanguageModel::hidden(const PackedTokens& input, DecodeState* state, Pass& pass) const {
  Tensor x = Tensor::empty({input.tokens.numel(), config_.width()}, DType::kFloat32, input.tokens.device());
  kernels::embedding_forward(embeddings_->value, input.tokens, x, pass.stream);
  pass.observe("residual", x);
  const ProfileRange range("forward");
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    pass.layer = static_cast<int>(layer);
    x = blocks_[layer].forward(x, state != nullptr ? &state->layers[layer] : nullptr, pass);
  }
  pass.layer = -1;
  return norm_.forward(x, pass);
}

Pass LanguageModel::make_pass(const PackedTokens& input, Activations::Mode mode, Stream stream) const {
  return {input.cu_seqlens, compute_dtype_, stream, Activations(mode), {}};
}

}  // namespace mudelta
