#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/forward_multipliers.h"
#include "core/parameter.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/checkpoint/checkpoint_reader.h"
#include "launch/config/config.pb.h"

namespace mudelta {

// The weights of a model, by element, wherever they are stored.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const std::filesystem::path& folder() const = 0;
  // With the model resolved, and data.tokenizer where it is known; of a run's weights, that of the run.
  virtual const RunConfig& config() const = 0;
  virtual ForwardMultipliers forward_multipliers() const = 0;
  // How far the weights have been trained; nothing but zeros where that is not known.
  virtual TrainingState state() const = 0;
  // `out` = elements [begin, begin + out.size()) of `slice`, flattened, of one of parameter_specs(config().model()).
  // Throws Error, naming the file, if it is missing or damaged; `out` is then undefined.
  virtual void read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
                    std::span<float> out) const = 0;
};

// Those of a checkpoint.
class CheckpointWeights : public WeightSource {
 public:
  // `folder`: a checkpoint, or a run (then its newest one). Throws Error on one that is missing or damaged, or whose
  // configuration is not that of its parameters.
  explicit CheckpointWeights(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const override { return reader_.folder(); }
  const RunConfig& config() const override { return config_; }
  ForwardMultipliers forward_multipliers() const override { return forward_multipliers_of(reader_.manifest()); }
  TrainingState state() const override { return reader_.manifest().state(); }
  void read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
            std::span<float> out) const override;

 private:
  CheckpointReader reader_;
  RunConfig config_;
};

// Weights that give the same logits under other multipliers: the gain of the final norm takes up the difference of the
// logits', the last matrices of mixers and MLPs that of the residual's (nothing is rounded where a power of 2 makes
// it). `weights` must outlive it.
class FoldedWeights : public WeightSource {
 public:
  FoldedWeights(const WeightSource& weights, const ForwardMultipliers& multipliers)
      : weights_(weights), multipliers_(multipliers) {}

  const std::filesystem::path& folder() const override { return weights_.folder(); }
  const RunConfig& config() const override { return weights_.config(); }
  ForwardMultipliers forward_multipliers() const override { return multipliers_; }
  TrainingState state() const override { return weights_.state(); }
  void read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
            std::span<float> out) const override;

 private:
  const WeightSource& weights_;
  ForwardMultipliers multipliers_;
};

// As WeightSource::read, of the part that `parameter` is, and throws Error, naming the element, on a weight that is not
// finite.
void read_finite(const WeightSource& weights, const Parameter& parameter, std::int64_t begin, std::span<float> out);

}  // namespace mudelta
