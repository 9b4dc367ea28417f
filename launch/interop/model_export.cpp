#include "launch/interop/model_export.h"

#include <cmath>

#include "core/error.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "launch/interop/foreign_weights.h"
#include "launch/interop/model_writer.h"
#include "launch/interop/new_folder.h"
#include "launch/interop/probe.h"
#include "launch/train/memory_estimate.h"
#include "model/config.h"

namespace mudelta {
namespace {

constexpr std::string_view kProbeOption = "--probe-tokens";

std::string describe_tokenizer(const RunConfig& config) {
  if (!config.data().has_tokenizer()) return "none is known: none is written\n";
  const std::string file = parse_tokenizer_id(config.data().tokenizer()).file_name();
  if (!file.empty()) return fmt::format("{}: {}\n", config.data().tokenizer(), file);
  return fmt::format("{}: ids below 256 are bytes, 256 begins a text; there are no files of it to write\n",
                     config.data().tokenizer());
}

// What the format's reader computes, beside what this program does.
std::string compare(const WeightSource& weights, const ExportRequest& request, const ForeignWeights& written) {
  const ModelConfig& model = weights.config().model();
  const double ours = o_norm_eps(model), theirs = consumer_o_norm_eps(model);
  const bool same_eps = std::abs(ours - theirs) <= 1e-9 * theirs;
  const auto eps_there = [&](double eps) { return eps / std::pow(model.head_dim(), 2); };
  std::string text;
  if (request.probe_tokens > 0) {
    const auto logits = [&](const WeightSource& of, double eps, DType dtype) {
      return probe_logits(of, eps, dtype, request.probe_tokens, kProbeOption);
    };
    const Tensor expected = logits(weights, ours, DType::kFloat32);
    text += fmt::format(
        "probe          {} tokens, as {} computes them in {}: largest difference of a logit {:.2g}, "
        "of logits up to {:.3g}\n",
        request.probe_tokens, request.format, name_of(request.dtype),
        largest_difference(expected, logits(written, theirs, request.dtype)), largest(expected));
    if (!same_eps) {
      text += fmt::format("               with the lines below: {:.2g}\n",
                          largest_difference(expected, logits(written, ours, request.dtype)));
    }
  }
  if (!same_eps) {
    text += fmt::format(
        "o_norm         not exact: the model's eps is {:.6g} in its units (model.o_norm_eps {:.6g} / head_dim^2), the "
        "format\n               has one eps for all norms, {:.6g}. After loading it, in Python:\n"
        "    for layer in model.model.layers:\n        layer.{} = {}\n",
        eps_there(ours), ours, model.norm_eps(), written.format().o_norm_eps, eps_there(ours));
  }
  return text;
}

}  // namespace

std::string export_model(const ExportRequest& request) {
  const std::unique_ptr<const WeightSource> weights = open_weights(request.weights);
  const bool is_own = request.format == kOwnFormat;
  require(!is_own || request.dtype == DType::kFloat32, "--dtype is {}: a checkpoint, the format {}, has float32",
          name_of(request.dtype), kOwnFormat);
  NewFolder folder(request.out, request.force);
  std::string text = fmt::format("weights        {}\n", weights->folder().string());
  if (is_own) {
    write_checkpoint_of(*weights, request.file_bytes, folder.temporary());
    text += "format         a checkpoint without optimizer state, float32, bit for bit\n";
  } else {
    const ForeignFormat& format = format_named(request.format);
    write_foreign_model(*weights, format, request.dtype, request.file_bytes, folder.temporary());
    text +=
        fmt::format("format         {}, model_type {}, {}\n", format.name, format.model_type, name_of(request.dtype));
    const ForwardMultipliers multipliers = weights->forward_multipliers();
    if (multipliers.logits != 1) {
      text += fmt::format("folded         the logit multiplier, {:.6g}, into the gain of the final norm\n",
                          multipliers.logits);
    }
    if (multipliers.residual != 1) {
      text += fmt::format("folded         the residual multiplier, {:.6g}, into the last matrices of mixers and MLPs\n",
                          multipliers.residual);
    }
    text += "tokenizer      " + describe_tokenizer(weights->config());
    text += compare(*weights, request, ForeignWeights(folder.temporary(), request.dtype));
  }
  folder.commit();
  return text + fmt::format("written to {}\n", request.out.string());
}

}  // namespace mudelta
