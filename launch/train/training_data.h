#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/blend.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "dist/process_group.h"
#include "launch/checkpoint/manifest.pb.h"
#include "launch/config/config.pb.h"
#include "launch/train/evaluation.h"

namespace mudelta {

// How far a run has got in one of its data.sources.
struct SourceProgress {
  std::string name;
  std::int64_t rows = 0;  // that it has given
  double share = 0;       // of the rows of all sources that the run has now
  double epochs = 0;
};

// What a run learns from and is evaluated on: one data set, or several in a blend (data/blend.h).
class TrainingData {
 public:
  // `context`: the ranks that share each row. Throws Error as Dataset and Loader, also on a validation split that is
  // too short, and if the sources end before the run does.
  TrainingData(const RunConfig& config, const ProcessGroup& context);

  // Rows [first, first + count) of the run, none of them before the last advance_to(). Throws Error as Loader, and if
  // all sources have ended.
  Batch rows(std::int64_t first, std::int64_t count);
  // The rows before `row` have been learnt.
  void advance_to(std::int64_t row);

  // Writes how far each source has got; nothing for a run with one data.path.
  void describe(TrainingState& state) const;
  // Goes on where a checkpoint ends, at row `row` of the run. Sources are known by their names; one that holds what the
  // data.path of the checkpoint's run did goes on where that was; others begin, and those that are no longer there are
  // remembered. Where rows have another length now, each goes on after as many tokens. Throws Error if a source holds
  // other shards than before, or the run had sources and has a path now.
  void resume(const std::string& where, const CheckpointManifest& manifest, std::int64_t row);

  bool is_blend() const { return is_blend_; }
  std::vector<SourceProgress> progress() const;  // of a blend; else empty

  const DatasetInfo& info() const { return sources_.front().train.info(); }  // of the first
  const StoredTokenizer& tokenizer() const { return sources_.front().validation.tokenizer(); }

  // On the validation split, or on that of each source: then the mean over sources by their weights, and the loss of
  // each. As evaluate() of launch/train/evaluation.h.
  std::optional<Evaluation> evaluate(const LanguageModel& model, const EvaluationOptions& options, const Mesh& mesh,
                                     Stream stream) const;

 private:
  struct Source {
    DataSource config;
    Dataset train, validation;
    std::string order;  // part of the key of its rows' order
  };

  Loader loader_of(const Source& source) const;
  void start(std::int64_t row, std::int64_t steps, std::vector<std::int64_t> cursors);

  bool is_blend_;
  std::int64_t steps_, global_batch_;
  LoaderOptions options_;
  std::vector<Source> sources_;
  std::vector<SourceState> others_;  // of sources that the run had, and has no longer
  std::optional<Blend> done_;        // after the rows that have been learnt
  std::optional<Blend> read_;        // after those that have been read
};

}  // namespace mudelta
