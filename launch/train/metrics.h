#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launch/train/role_norms.h"
#include "launch/train/step_timer.h"
#include "launch/train/training_data.h"

namespace mudelta {

// One step of training. Rates are of the steps since the record before, and so are seconds.
struct StepMetrics {
  std::int64_t step = 0;                     // 1 for the first
  double time = 0;                           // at its end: seconds since the beginning of 1970, UTC
  double loss = 0;                           // mean over all target tokens of the step, nats per token
  double lr = 0;                             // before multipliers
  double grad_norm = 0;                      // global, before clipping
  bool skipped = false;                      // a bad step: nothing was updated
  std::string fault;                         // of a bad step
  std::int64_t first_row = 0, last_row = 0;  // that a bad step read: positions in the order of the training data
  bool clipped = false;                      // gradients were scaled down to train.grad_clip
  std::int64_t tokens = 0;                   // target tokens since the run began, over all ranks
  double tokens_per_second = 0;
  double mfu = 0;           // model FLOP/s over peak_flops
  double peak_flops = 0;    // FLOP/s of matrix products on all ranks, the most that was measured so far
  std::int64_t memory = 0;  // largest number of bytes allocated on a rank so far
  StepSeconds seconds;      // of rank 0
  std::map<std::string, std::int64_t> bytes_sent;  // by rank 0 in this step, of tensors, by group (dist/traffic.h)
  std::vector<RoleNorms> norms;
  std::vector<SourceProgress> sources;
};

// A checkpoint of the state after `step` steps. It may come after records of later steps.
struct CheckpointMetrics {
  std::int64_t step = 0;
  double seconds = 0;  // for which training stood still
};

// The run went back from a bad step to the checkpoint of `step`, and leaves the bad step's rows out.
struct RollbackMetrics {
  std::int64_t step = 0, bad_step = 0;
  std::string fault;
  std::int64_t first_row = 0, last_row = 0;
};

// An evaluation after `step` steps.
struct EvalMetrics {
  std::int64_t step = 0;
  double loss = 0;  // nats per token
  double bits_per_byte = 0;
  std::int64_t tokens = 0;
  double seconds = 0;
  std::vector<std::pair<std::string, double>> source_losses;
};

// Where the metrics of a run go. They throw Error if they cannot be written.
class MetricsSink {
 public:
  virtual ~MetricsSink() = default;
  virtual void write(const StepMetrics& metrics) = 0;
  virtual void write(const EvalMetrics& metrics) = 0;
  virtual void write(const CheckpointMetrics& metrics) = 0;
  virtual void write(const RollbackMetrics& metrics) = 0;
};

// Appends records to a metrics.jsonl, one JSON object a line, each on its way to the disk when `write` returns. A
// number that is not finite becomes null. A field bears its member's name, but for an evaluation (eval_loss,
// eval_bits_per_byte, eval_tokens, eval_seconds), a checkpoint (checkpoint_seconds) and a rollback (rolled_back_from);
// `rows` are the first and the last.
class MetricsWriter : public MetricsSink {
 public:
  // Continues the file at `path` from `last_step`: records of later steps and a last line that was cut short are
  // dropped first, so that a resumed run's file has each step once. last_step 0, or no such file: a new file.
  // Throws Error if the file cannot be read or written, or, naming the line, if it holds something else than records.
  MetricsWriter(std::filesystem::path path, std::int64_t last_step);
  ~MetricsWriter() override;
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  // Throws Error if the line cannot be written; then the file is as it was.
  void write(const StepMetrics& metrics) override;
  void write(const EvalMetrics& metrics) override;
  void write(const CheckpointMetrics& metrics) override;
  void write(const RollbackMetrics& metrics) override;

  // Whether the file was continued from a step whose evaluation it holds.
  bool has_evaluation() const { return has_evaluation_; }

 private:
  void write_line(const nlohmann::ordered_json& record);

  std::filesystem::path path_;
  bool has_evaluation_ = false;
  int file_ = -1;
};

}  // namespace mudelta
