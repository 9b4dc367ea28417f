#include "model/language_model.h"

#include "core/gemm.h"
#include "core/profile_range.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"

namespace mudelta {
namespace {

LiveTensors loss_workspace(const ModelConfig& c, const PassShape& shape) {
  const std::int64_t rows = (c.vocab_size() + shape.tensor_ranks - 1) / shape.tensor_ranks;
  return kernels::cross_entropy_workspace(shape.tokens, c.vocab_size(), rows, c.width(), shape.compute_dtype,
                                          shape.device);
}

// The residual stream x, with the multiplier r of what is added to it, is kept as x / r, to which blocks add what they
// compute: only the embedding is scaled. A norm of x / r is that of x if its eps is divided by r^2.
double norm_eps(const ModelConfig& c, const ForwardMultipliers& multipliers) {
  return c.norm_eps() / (multipliers.residual * multipliers.residual);
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
  const LayerMemory block = Block::memory(Block::part_sizes(c, shape.tensor_ranks), shape);
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
  for (const LiveTensors& moment : Block::memory(Block::part_sizes(c, shape.tensor_ranks), shape).forward)
    moments.push_back(input + moment);
  moments.push_back(input + shape.rows({1}, DType::kFloat32) + shape.rows({c.width()}, shape.compute_dtype) +
                    loss_workspace(c, shape));
  return moments;
}

LanguageModel::LanguageModel(const ModelConfig& resolved, ParameterStore& store, DType compute_dtype,
                             ForwardMultipliers multipliers, TensorGroup tensor, ContextGroup context)
    : config_(resolved),
      compute_dtype_(compute_dtype),
      device_(store.device()),
      logit_multiplier_(static_cast<float>(multipliers.logits)),
      inverse_residual_multiplier_(static_cast<float>(1 / multipliers.residual)),
      tensor_(std::move(tensor)),
      context_(std::move(context)),
      embeddings_(&store.find("model.embeddings.weight")),
      readout_(resolved.tie_embeddings() ? embeddings_ : &store.find("lm_head.weight")),
      norm_(store.find("model.norm.weight"), norm_eps(resolved, multipliers)) {
  blocks_.reserve(static_cast<std::size_t>(resolved.layers()));
  for (int layer = 0; layer < resolved.layers(); ++layer) {
    blocks_.emplace_back(resolved, store, layer, norm_eps(resolved, multipliers));
  }
}

Tensor LanguageModel::losses(const PackedTokens& input, const Tensor& targets, Stream stream) const {
  Pass pass = make_pass(input, Activations::Mode::kDiscard, stream);
  const Tensor losses = Tensor::empty(targets.shape(), DType::kFloat32, targets.device());
  const Tensor last = pass.tensor.all_rows(hidden(input, nullptr, pass), stream);
  kernels::cross_entropy_forward(cross_entropy_inputs(last, targets), losses, stream);
  return losses;
}

Tensor LanguageModel::losses_and_gradients(const PackedTokens& input, const Tensor& targets, double gradient_scale,
                                           Stream stream) const {
  Pass pass = make_pass(input, Activations::Mode::kKeep, stream);
  const Tensor last = pass.tensor.all_rows(hidden(input, nullptr, pass), stream);
  const Tensor losses = Tensor::empty(targets.shape(), DType::kFloat32, targets.device());
  hooks_.before_backward(head());
  Tensor dlast = Tensor::empty(last.shape(), last.dtype(), last.device());
  kernels::cross_entropy_forward_backward(cross_entropy_inputs(last, targets), static_cast<float>(gradient_scale),
                                          losses, dlast, readout_->gradient, stream);
  dlast = pass.tensor.sum(dlast, stream);

  const Tensor dx = Tensor::zeros(dlast.shape(), DType::kFloat32, dlast.device());
  norm_.backward(dlast, dx, pass);
  hooks_.gradients_final(head());
  for (int layer = config_.layers() - 1; layer >= 0; --layer) {
    hooks_.before_backward(layer + 1);
    blocks_[static_cast<std::size_t>(layer)].backward(dx, pass);
    hooks_.gradients_final(layer + 1);
  }
  hooks_.before_backward(0);
  scale_embedding(dx, stream);
  kernels::embedding_backward(input.tokens, pass.tensor.all_rows(dx, stream), embeddings_->gradient, stream,
                              part_of(*embeddings_));
  hooks_.gradients_final(0);
  CHECK(pass.activations.empty());
  return losses;
}

Tensor LanguageModel::logits(const PackedTokens& input, DecodeState* state, Stream stream,
                             const Observer& observer) const {
  Pass pass = make_pass(input, Activations::Mode::kDiscard, stream);
  pass.tensor = tensor_.with_whole_rows();  // any number of tokens
  pass.context = {};
  pass.observer = observer;
  const Tensor last = hidden(input, state, pass);
  const Tensor part = Tensor::empty({last.size(0), readout_->value.size(0)}, DType::kFloat32, last.device());
  gemm(last, readout_->value, part, {.transpose_b = true}, stream);
  kernels::scale(part, logit_multiplier_, stream);
  const Tensor logits = whole_logits(part);
  pass.observe("readout_input", last);
  pass.observe("logits", logits);
  return logits;
}

// x or its gradient.
void LanguageModel::scale_embedding(const Tensor& x, Stream stream) const {
  if (inverse_residual_multiplier_ != 1) kernels::scale(x, inverse_residual_multiplier_, stream);
}

kernels::VocabularyPart LanguageModel::part_of(const Parameter& matrix) const {
  return {.begin = matrix.part.slice.begin, .vocab = matrix.spec.shape[0]};
}

kernels::CrossEntropyInputs LanguageModel::cross_entropy_inputs(const Tensor& last, const Tensor& targets) const {
  const auto over_ranks = [this](ReduceOp op) {
    return [this, op](const Tensor& tensor, Stream stream) { tensor_.ranks().all_reduce(tensor, op, stream); };
  };
  return {last,
          readout_->value,
          targets,
          logit_multiplier_,
          part_of(*readout_),
          {.max = over_ranks(ReduceOp::kMax), .sum = over_ranks(ReduceOp::kSum)}};
}

// part [tokens, this rank's rows of the readout] -> [tokens, vocab].
Tensor LanguageModel::whole_logits(const Tensor& part) const {
  if (tensor_.size() == 1) return part;
  const std::int64_t tokens = part.size(0), vocab = config_.vocab_size();
  // A sum with zeros elsewhere: parts may differ by a row, and texts that are generated are short.
  const Tensor host = Tensor::zeros({tokens, vocab});
  const Tensor own = part.to(Device());
  const std::int64_t begin = part_of(*readout_).begin, rows = own.size(1);
  for (std::int64_t t = 0; t < tokens; ++t) {
    host.flat_view(t * vocab + begin, {rows}).copy_from(own.flat_view(t * rows, {rows}));
  }
  tensor_.ranks().all_reduce(host, ReduceOp::kSum, Stream());
  return part.device().is_cuda() ? host.to(part.device()) : host;
}

DecodeState LanguageModel::make_state(std::int64_t sequences) const {
  DecodeState state;
  for (const Block& block : blocks_) state.layers.push_back(block.make_state(sequences, device_));
  return state;
}

Tensor LanguageModel::hidden(const PackedTokens& input, DecodeState* state, Pass& pass) const {
  CHECK(pass.edges || pass.context.size() == 1) << "context ranks need the edges of their parts";
  Tensor x = Tensor::empty({input.tokens.numel(), config_.width()}, DType::kFloat32, input.tokens.device());
  hooks_.before_forward(0);
  kernels::embedding_forward(embeddings_->value, input.tokens, x, pass.stream, part_of(*embeddings_));
  x = pass.tensor.sum(x, pass.stream);
  scale_embedding(x, pass.stream);
  pass.observe("residual", x);
  const ProfileRange range("forward");
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    pass.layer = static_cast<int>(layer);
    hooks_.before_forward(pass.layer + 1);
    x = blocks_[layer].forward(x, state != nullptr ? &state->layers[layer] : nullptr, pass);
  }
  pass.layer = -1;
  hooks_.before_forward(head());
  return norm_.forward(x, pass);
}

Pass LanguageModel::make_pass(const PackedTokens& input, Activations::Mode mode, Stream stream) const {
  return {input.cu_seqlens, input.edges, context_, compute_dtype_, stream, tensor_, Activations(mode), {}};
}

}  // namespace mudelta
