#pragma once

#include <cstdint>
#include <memory>

#include "dist/mesh.h"
#include "launch/data_verification.h"
#include "launch/evaluation.h"
#include "launch/metrics.h"
#include "launch/progress.h"
#include "launch/run_directory.h"
#include "launch/trainer.h"

namespace mudelta {

// What a training run tells its user: a summary, a live progress line, metrics.jsonl, and each rank's log. Every rank
// has one and calls it alike (some figures are collected from all ranks); rank 0 alone prints and writes metrics.
class TrainingReport {
 public:
  // `peak_flops`: measured matrix-product rate of all ranks together, what MFU is a share of.
  TrainingReport(const Trainer& trainer, const Mesh& mesh, const RunDirectory& run, double peak_flops);

  void step(const TrainStep& step, double seconds);  // collective every train.log_every steps
  void evaluation(std::int64_t step, const Evaluation& evaluation);
  void checkpoint(std::int64_t step);
  void awaits_verification();  // with nothing else left to do
  void data_verified(const VerificationCost& cost);
  void stopped(std::int64_t step);
  void finished();

 private:
  void print_summary() const;

  const Trainer& trainer_;
  const ProcessGroup world_;
  const RunDirectory run_;
  const double peak_flops_;
  const double flops_per_token_;
  double seconds_ = 0;                      // of the steps since the last record
  std::int64_t steps_ = 0;                  // likewise
  std::unique_ptr<MetricsWriter> metrics_;  // rank 0 only, as `progress_`
  std::unique_ptr<Progress> progress_;
};

}  // namespace mudelta
