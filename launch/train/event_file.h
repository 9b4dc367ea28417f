#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "launch/train/event.pb.h"
#include "launch/train/metrics.h"

namespace mudelta {

// CRC-32C (Castagnoli) of bytes.
std::uint32_t crc32c(std::string_view bytes);

// Writes metrics as TensorBoard reads them: a file of its own in the run's folder,
// events.out.tfevents.SECONDS.HOST.PROCESS. Each record is on its way to the disk when `write` returns. Numbers that
// are not finite stay what they are.
class EventFile : public MetricsSink {
 public:
  // Events after `last_step` in the files of earlier jobs are no longer shown. Throws Error, naming the file, if it
  // cannot be written.
  EventFile(const std::filesystem::path& folder, std::int64_t last_step);
  ~EventFile() override;

  void write(const StepMetrics& metrics) override;
  void write(const EvalMetrics& metrics) override;
  void write(const CheckpointMetrics& metrics) override;
  void write(const RollbackMetrics& metrics) override;

 private:
  void append(const tensorboard::Event& event);

  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace mudelta
