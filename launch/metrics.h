#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>

namespace mudelta {

// One step of training. Rates and memory are of the time since the record before.
struct StepMetrics {
  std::int64_t step = 0;    // 1 for the first
  double loss = 0;          // mean over all target tokens of the step, nats per token
  double lr = 0;            // before multipliers
  double grad_norm = 0;     // global, before clipping
  bool skipped = false;     // nothing was updated
  std::int64_t tokens = 0;  // target tokens since the run began, over all ranks
  double tokens_per_second = 0;
  double mfu = 0;           // model FLOP/s over the measured peak
  std::int64_t memory = 0;  // largest number of bytes allocated on a rank so far
};

// An evaluation after `step` steps.
struct EvalMetrics {
  std::int64_t step = 0;
  double loss = 0;  // nats per token
  double bits_per_byte = 0;
  std::int64_t tokens = 0;
};

// Appends records to a metrics.jsonl, one JSON object a line, each on its way to the disk when `write` returns. A
// number that is not finite becomes null. An evaluation's fields are called eval_loss, eval_bits_per_byte, eval_tokens.
class MetricsWriter {
 public:
  // Continues the file at `path` from `last_step`: records of later steps and a last line that was cut short are
  // dropped first, so that a resumed run's file has each step once. last_step 0, or no such file: a new file.
  // Throws Error if the file cannot be read or written, or, naming the line, if it holds something else than records.
  MetricsWriter(std::filesystem::path path, std::int64_t last_step);

  // Throws Error if the line cannot be written.
  void write(const StepMetrics& metrics);
  void write(const EvalMetrics& metrics);

 private:
  void write_line(const nlohmann::ordered_json& record);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace mudelta
