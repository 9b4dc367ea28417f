#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dist/mesh.h"
#include "launch/job/progress.h"
#include "launch/train/data_verification.h"
#include "launch/train/evaluation.h"
#include "launch/train/gemm_peak.h"
#include "launch/train/metrics.h"
#include "launch/train/run_directory.h"
#include "launch/train/trainer.h"

namespace mudelta {

// What a training run tells its user: a summary, a live progress line, metrics.jsonl, an event file for TensorBoard,
// and each rank's log. Every rank has one and calls it alike (some figures are collected from all ranks); rank 0 alone
// prints and writes metrics.
class TrainingReport {
 public:
  // `peak`: of all ranks together. `notes`: lines on how a resumed run goes on.
  TrainingReport(Trainer& trainer, const Mesh& mesh, const RunDirectory& run, MfuPeak peak,
                 const std::vector<std::string>& notes);

  // Whether the metrics lack the evaluation of the step that the run goes on from. Collective.
  bool lacks_evaluation() const;

  // Collective. They throw the same Error on every rank if the metrics cannot be written.
  void step(const TrainStep& step, double seconds);
  void diverged(const TrainStep& step, double seconds);  // the run's last
  void evaluation(std::int64_t step, const Evaluation& evaluation, double seconds);
  void checkpoint(std::int64_t step, double seconds);
  // `run`: where its folder is now. Drops what the metrics have of the steps since.
  void rolled_back(const RunDirectory& run, const TrainStep& bad);
  void save_failed(std::int64_t step, const std::string& reason);  // in the log of each rank

  // Whether it is time to measure the peak again, by this rank's clock: others may have been using the machine.
  bool wants_peak() const;
  void measure_peak();  // collective

  void awaits_verification();  // with nothing else left to do
  void data_verified(const VerificationCost& cost);
  void stopped(std::int64_t step);
  void finished();

 private:
  void open_sinks(const RunDirectory& run);
  void print_summary(const Mesh& mesh, const std::vector<std::string>& notes) const;
  void print_share(const Mesh& mesh) const;  // what each rank holds and sends
  void count(const TrainStep& step, double seconds);
  void write_record(const TrainStep& step);
  void look_at_rank_times(const TrainStep& step);
  template <class Metrics>
  void write(const Metrics& metrics) {
    for (const auto& sink : sinks_) sink->write(metrics);
  }

  Trainer& trainer_;
  const ProcessGroup world_;
  const RunDirectory run_;
  MfuPeak peak_;
  Stopwatch since_peak_;
  double peak_interval_;  // seconds until it is measured again
  const double flops_per_token_;
  double seconds_ = 0;      // of the steps since the last record
  std::int64_t steps_ = 0;  // likewise
  Stopwatch since_rank_times_;
  double mpi_seconds_before_ = 0;                    // until the last look at the ranks' times
  std::vector<std::unique_ptr<MetricsSink>> sinks_;  // rank 0 only, as `progress_`
  bool has_evaluation_ = false;                      // the metrics have that of the step that the run goes on from
  std::unique_ptr<Progress> progress_;
};

}  // namespace mudelta
