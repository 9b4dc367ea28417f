#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/forward_multipliers.h"
#include "core/parameter_store.h"
#include "kernels/cross_entropy.h"
#include "model/block.h"
#include "model/config.pb.h"
#include "model/pass_hooks.h"

namespace mudelta {

// Token sequences packed one after another.
struct PackedTokens {
  Tensor tokens;      // [tokens] int32
  Tensor cu_seqlens;  // [sequences + 1] int32, from 0 to tokens; sequences do not see each other
  Tensor edges;       // [parts, 3] int32 where ranks have parts of rows (kernels/row_edges.h)
};

// What a text leaves behind for its next token, a fixed size per sequence.
struct DecodeState {
  std::vector<MixerState> layers;
};

// The Gated Delta Network language model of docs/architecture.md. Owns no storage: parameters live in the store,
// activations in each pass.
class LanguageModel {
 public:
  // What is alive at the fullest moments of losses_and_gradients() over a batch of that shape, and of losses(), its
  // input included; parameters and gradients left out.
  static std::vector<LiveTensors> training_memory(const ModelConfig& resolved, const PassShape& shape);
  static std::vector<LiveTensors> inference_memory(const ModelConfig& resolved, const PassShape& shape);

  // "embedding" is the residual stream before the first block; "mixer" and "mlp" are what a block's layers add to it.
  // The stream that passes show is divided by ForwardMultipliers.residual, so that what is added to it is not
  // multiplied.
  static Observed observed();

  // `store` holds exactly parameter_specs(resolved), or this rank's parameter_parts() of them, and must outlive the
  // model. `multipliers` are those of the parametrization. All ranks of `tensor` make the
  // same calls; tensors that go in and come out are whole, and alike on all of them. So do all ranks of `context`, each
  // with its part of the same rows, from losses() and losses_and_gradients(): documents go on from rank to rank.
  LanguageModel(const ModelConfig& resolved, ParameterStore& store, DType compute_dtype, ForwardMultipliers multipliers,
                TensorGroup tensor = {}, ContextGroup context = {});

  const ModelConfig& config() const { return config_; }

  // Every pass from now on calls them.
  void set_hooks(PassHooks hooks) { hooks_ = std::move(hooks); }

  // Loss of each token's target [tokens] float32, in nats. targets [tokens] int32; -1: not counted, loss 0.
  Tensor losses(const PackedTokens& input, const Tensor& targets, Stream stream) const;

  // As losses(), and the gradients of gradient_scale * (their sum) are accumulated (+=) into the store.
  Tensor losses_and_gradients(const PackedTokens& input, const Tensor& targets, double gradient_scale,
                              Stream stream) const;

  // Logits [tokens, vocab] float32 of each token's successor. `state`, if not null, goes with the sequences: it is
  // read as their past and updated. make_state() is the start of a text. `observer`, if any, is told of what the layers
  // compute on the way. Rows are whole: of a context group, each rank works alone.
  Tensor logits(const PackedTokens& input, DecodeState* state, Stream stream, const Observer& observer = {}) const;
  DecodeState make_state(std::int64_t sequences) const;

 private:
  int head() const { return config_.layers() + 1; }  // its place (PassHooks)
  Tensor hidden(const PackedTokens& input, DecodeState* state, Pass& pass) const;
  void scale_embedding(const Tensor& x, Stream stream) const;
  kernels::VocabularyPart part_of(const Parameter& matrix) const;
  kernels::CrossEntropyInputs cross_entropy_inputs(const Tensor& last, const Tensor& targets) const;
  Tensor whole_logits(const Tensor& part) const;
  Pass make_pass(const PackedTokens& input, Activations::Mode mode, Stream stream) const;

  ModelConfig config_;
  DType compute_dtype_;
  Device device_;
  float logit_multiplier_;
  float inverse_residual_multiplier_;  // of the embedding, as the residual stream is in units of the multiplier
  TensorGroup tensor_;
  ContextGroup context_;
  Parameter* embeddings_;
  Parameter* readout_;  // embeddings_ when tied
  std::vector<Block> blocks_;
  Norm norm_;
  PassHooks hooks_;
};

}  // namespace mudelta
