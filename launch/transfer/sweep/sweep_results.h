#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/transfer/sweep/sweep_plan.h"

namespace mudelta {

struct SweepResult {
  SweepRun run;
  std::optional<double> loss;  // on the validation split after the last step, nats per token; none: the run diverged
  std::int64_t steps = 0;      // done
  double seconds = 0;

  friend bool operator==(const SweepResult&, const SweepResult&) = default;
};

// A sweep's folder: sweep.textproto (completed), sweep.jsonl, one line per finished run, and runs/, with the
// checkpoints of runs that were interrupted. While a job is at work, a sweep.rank-*.jsonl for each group of ranks, so
// that no two ever write to the same file, and sweep.stop, once a group wants the others to stop.
class SweepDirectory {
 public:
  explicit SweepDirectory(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path config() const { return root_ / "sweep.textproto"; }
  std::filesystem::path results() const { return root_ / "sweep.jsonl"; }
  std::filesystem::path results_of(int group) const;
  // Of a run's checkpoints. Two runs never have the same.
  std::filesystem::path folder_of(const SweepRun& run) const;
  void remove_folder_of(const SweepRun& run) const;

  // Throws Error, naming the folder, if there is none or it holds no sweep, or on a damaged file.
  SweepConfig read_config() const;
  void make() const;  // if need be
  // Throws Error if the folder holds something else than a sweep, or runs of another one, finished or not.
  void write_config(const SweepConfig& sweep) const;

  // Of every file, each run once (the later result counts), sorted. A last line that was cut short does not count.
  // Throws Error naming the line on anything else that is no result.
  std::vector<SweepResult> read() const;
  // The same; then sweep.jsonl holds them all and the other files are gone. No job may be writing to them.
  std::vector<SweepResult> gather() const;

  // Asks every group to stop: for the reason of an error, or none (a signal). The first request counts.
  void request_stop(const std::string& reason) const;
  bool stop_requested() const;
  // The reason, if there was a request, which is then gone.
  std::optional<std::string> take_stop_request() const;

 private:
  bool holds_runs() const;
  std::filesystem::path stop_request() const { return root_ / "sweep.stop"; }
  std::filesystem::path runs() const { return root_ / "runs"; }
  std::vector<std::filesystem::path> result_files() const;

  std::filesystem::path root_;
};

// Appends to a file of results, each on the disk when `append` returns. Throws Error if it cannot be.
class ResultWriter {
 public:
  explicit ResultWriter(std::filesystem::path path);
  ~ResultWriter();
  ResultWriter(const ResultWriter&) = delete;
  ResultWriter& operator=(const ResultWriter&) = delete;

  void append(const SweepResult& result);

 private:
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace mudelta
