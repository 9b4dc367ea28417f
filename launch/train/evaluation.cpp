#include "launch/train/evaluation.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/reduce.h"
#include "launch/job/agreement.h"
#include "launch/train/batch_upload.h"

namespace mudelta {

std::optional<Evaluation> evaluate(const LanguageModel& model, const Dataset& dataset, const EvaluationOptions& options,
                                   const Mesh& mesh, Stream stream, const LossVisitor& visit) {
  CHECK(!visit || mesh.context().size() == 1) << "rows are visited whole";
  const ProcessGroup& group = mesh.data();
  const Loader loader(dataset, {.sequence_length = options.sequence_length,
                                .shuffle = false,
                                .reset_at_documents = options.reset_at_documents,
                                .part = mesh.context().rank(),
                                .parts = mesh.context().size()});
  run_or_fail_together(mesh.world(), [&] { dataset.tokenizer(); });
  const std::int64_t rows =
      options.max_sequences > 0 ? std::min(options.max_sequences, loader.rows_per_epoch()) : loader.rows_per_epoch();
  const std::int64_t begin = rows * group.rank() / group.size();
  const std::int64_t end = rows * (group.rank() + 1) / group.size();

  BatchUpload upload(stream.device(), model.config().vocab_size());
  const Tensor total = Tensor::zeros({1}, DType::kFloat64, stream.device());
  double bytes = 0;
  const auto score = [&](std::int64_t row, const Batch& batch, const Batch& input) {
    const Tensor losses = model.losses({input.tokens, input.cu_seqlens, input.edges}, input.targets, stream);
    kernels::add_sum(losses, total, stream);
    const auto targets = batch.targets.span<std::int32_t>();
    bytes += dataset.num_bytes(targets);
    if (visit) visit(row * options.sequence_length + 1, targets, losses.to(Device()).span<float>());
  };
  // As many turns on every rank, though the shares may differ by a row.
  const std::int64_t largest_share = (rows + group.size() - 1) / group.size();
  for (std::int64_t done = 0; done < largest_share; done += options.micro_batch) {
    if (options.stop && options.stop()) return std::nullopt;
    const std::int64_t count = std::min(options.micro_batch, end - begin - done);
    // Ranks that communicate in a pass begin it together; the ranks of a replica have the same rows.
    const bool together = options.same_passes || mesh.replica().size() > 1;
    Batch batch, input;
    run_or_fail_together(mesh.world(), [&] {
      if (count <= 0 && !options.same_passes) return;
      batch = count > 0 ? loader.batch(begin + done, count) : loader.batch(0, 1);
      input = upload(batch);
      if (!together) score(begin + done, batch, input);
    });
    if (!together) continue;
    if (count > 0)
      score(begin + done, batch, input);
    else if (options.same_passes)
      model.losses({input.tokens, input.cu_seqlens, input.edges}, input.targets, stream);
  }

  Evaluation result;
  result.tokens = rows * options.sequence_length;
  result.bytes = std::llround(mesh.gradients().all_reduce(bytes, ReduceOp::kSum));
  const double loss_sum = mesh.gradients().all_reduce(total.to(Device()).span<double>()[0], ReduceOp::kSum);
  result.loss = loss_sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = loss_sum / std::numbers::ln2 / static_cast<double>(result.bytes);
  return result;
}

}  // namespace mudelta
