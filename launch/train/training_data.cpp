#include "launch/train/training_data.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "data/config_validation.h"
#include "launch/checkpoint/checkpoint_model.h"

namespace mudelta {
namespace {

std::string describe(const CheckpointDataSet& data_set) {
  std::int64_t tokens = 0;
  for (const CheckpointDataShard& shard : data_set.train()) tokens += shard.num_tokens();
  return fmt::format("{} tokens in {} shards, the first with checksum {}", tokens, data_set.train_size(),
                     data_set.train_size() > 0 ? data_set.train(0).xxh64() : "");
}

bool same_train_split(const CheckpointDataSet& a, const CheckpointDataSet& b) {
  return std::ranges::equal(a.train(), b.train(), [](const CheckpointDataShard& x, const CheckpointDataShard& y) {
    return x.num_tokens() == y.num_tokens() && x.xxh64() == y.xxh64();
  });
}

// What a checkpoint says of its sources; of a run with a data.path, one without a name.
std::vector<SourceState> stored_sources(const CheckpointManifest& manifest, std::int64_t row) {
  std::vector<SourceState> stored(manifest.state().sources().begin(), manifest.state().sources().end());
  if (stored.empty() && manifest.has_data_set()) {
    SourceState& source = stored.emplace_back();
    source.set_rows(row);
    *source.mutable_data_set() = manifest.data_set();
  }
  return stored;
}

}  // namespace

TrainingData::TrainingData(const RunConfig& config, const ProcessGroup& context)
    : is_blend_(!config.data().sources().empty()),
      steps_(config.train().steps()),
      global_batch_(config.train().global_batch()),
      options_{.sequence_length = config.train().sequence_length(),
               .seed = config.train().seed(),
               .shuffle = config.data().shuffle(),
               .reset_at_documents = config.data().reset_at_documents(),
               .part = context.rank(),
               .parts = context.size()} {
  for (const DataSource& source : sources_of(config.data())) {
    sources_.push_back(
        {source, Dataset(source.path(), Split::kTrain), Dataset(source.path(), Split::kValidation), source.name()});
    // An evaluation must not be the first to find the split too short, or its tokenizer damaged.
    const Dataset& validation = sources_.back().validation;
    validation.tokenizer();
    const Loader validation_rows(validation, {.sequence_length = options_.sequence_length});
  }
  start(0, steps_, std::vector<std::int64_t>(sources_.size()));
}

Loader TrainingData::loader_of(const Source& source) const {
  LoaderOptions options = options_;
  options.order = source.order;
  return {source.train, options};
}

void TrainingData::start(std::int64_t row, std::int64_t steps, std::vector<std::int64_t> cursors) {
  std::vector<BlendSource> drawn;
  for (const Source& source : sources_) {
    drawn.push_back(
        {source.config.name(), source.config.weight(), loader_of(source).rows_per_epoch(), source.config.epochs()});
  }
  done_.emplace(std::move(drawn), options_.seed, row, std::move(cursors));
  done_->require_rows(steps * global_batch_);
  read_ = done_;
}

Batch TrainingData::rows(std::int64_t first, std::int64_t count) {
  if (read_->row() > first) read_ = done_;  // asked for again
  while (read_->row() < first) read_->next();
  return pack_rows(options_, info().separator, count, [&](std::int64_t /*i*/, std::span<std::int32_t> row) {
    const auto [source, position] = read_->next();
    loader_of(sources_[source]).read(position, row);
  });
}

void TrainingData::advance_to(std::int64_t row) {
  while (done_->row() < row) done_->next();
}

void TrainingData::describe(TrainingState& state) const {
  state.clear_sources();
  if (!is_blend_) return;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    SourceState& stored = *state.add_sources();
    stored.set_name(sources_[i].config.name());
    stored.set_order(sources_[i].order);
    stored.set_rows(done_->cursors()[i]);
    *stored.mutable_data_set() = describe_data_set(sources_[i].train.info());
  }
  for (const SourceState& other : others_) *state.add_sources() = other;
}

void TrainingData::resume(const std::string& where, const CheckpointManifest& manifest, std::int64_t row) {
  const std::int64_t steps = steps_ - manifest.state().step();
  if (!is_blend_) {
    require(manifest.state().sources().empty(),
            "{}: the run learnt from data.sources, and has a data.path here: expected sources, if only one", where);
    return start(row, steps, {row});
  }
  others_ = stored_sources(manifest, row);
  const std::int64_t length = manifest.config().train().sequence_length();
  if (!manifest.state().sources().empty() && length != options_.sequence_length) {  // rows of another length
    for (SourceState& source : others_) {
      source.set_rows((source.rows() * length + options_.sequence_length - 1) / options_.sequence_length);
    }
  }
  std::vector<std::int64_t> cursors;
  for (Source& source : sources_) {
    const CheckpointDataSet data_set = describe_data_set(source.train.info());
    auto stored = std::ranges::find(others_, source.config.name(), &SourceState::name);
    if (stored == others_.end()) {
      stored = std::ranges::find_if(others_, [&](const SourceState& other) {
        return other.name().empty() && same_train_split(other.data_set(), data_set);
      });
    }
    if (stored == others_.end()) {
      cursors.push_back(0);
      continue;
    }
    require(same_train_split(stored->data_set(), data_set),
            "{}: the source {} had {} in the checkpoint, it has {} here: give other data another name", where,
            source.config.name(), mudelta::describe(stored->data_set()), mudelta::describe(data_set));
    source.order = stored->order();
    cursors.push_back(stored->rows());
    others_.erase(stored);
  }
  start(row, steps, std::move(cursors));
}

std::vector<SourceProgress> TrainingData::progress() const {
  std::vector<SourceProgress> all;
  if (!is_blend_) return all;
  const auto& cursors = done_->cursors();
  const auto sum = static_cast<double>(std::accumulate(cursors.begin(), cursors.end(), std::int64_t{0}));
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const auto rows = static_cast<double>(cursors[i]);
    all.push_back({.name = sources_[i].config.name(),
                   .rows = cursors[i],
                   .share = sum > 0 ? rows / sum : 0,
                   .epochs = rows / static_cast<double>(done_->sources()[i].rows)});
  }
  return all;
}

std::optional<Evaluation> TrainingData::evaluate(const LanguageModel& model, const EvaluationOptions& options,
                                                 const Mesh& mesh, Stream stream) const {
  Evaluation mean;
  double weights = 0, bytes_per_token = 0;
  for (const Source& source : sources_) {
    const auto result = mudelta::evaluate(model, source.validation, options, mesh, stream);
    if (!result || !is_blend_) return result;
    const double weight = source.config.weight();
    weights += weight;
    mean.loss += weight * result->loss;
    bytes_per_token += weight * static_cast<double>(result->bytes) / static_cast<double>(result->tokens);
    mean.tokens += result->tokens;
    mean.bytes += result->bytes;
    mean.source_losses.emplace_back(source.config.name(), result->loss);
  }
  mean.bits_per_byte = mean.loss / std::numbers::ln2 / bytes_per_token;
  mean.loss /= weights;
  mean.perplexity = std::exp(mean.loss);
  return mean;
}

}  // namespace mudelta
