#pragma once

#include <span>
#include <string>

#include "launch/checkpoint/manifest.pb.h"
#include "launch/config/config.pb.h"

// Which steps are bad (train.on_bad_step in launch/config/config.proto). It follows from the configuration and the
// TrainingState, so that every rank, and a resumed run, decides alike.

namespace mudelta {

// (loss - median) / spread, for the losses of a window: spread = 1.4826 x the median distance from the median, which is
// the standard deviation of a normal distribution, but at least a thousandth of the median. The median of an even
// number of values is the mean of the middle two.
double robust_z_score(std::span<const double> window, double loss);

// Why a step with this loss and gradient norm, which are sums over all ranks, is bad; empty: it is good.
std::string fault_of_step(double loss, double gradient_norm, const TrainConfig& config, const TrainingState& state);

// For the judgement of later steps.
void note_good_loss(double loss, const TrainConfig& config, TrainingState& state);

}  // namespace mudelta
