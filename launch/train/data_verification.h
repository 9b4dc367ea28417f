#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "data/config.pb.h"
#include "dist/process_group.h"
#include "launch/train/unsaved_error.h"

namespace mudelta {

// A shard is not what dataset.json says, or cannot be read. Every rank throws it at the same point.
class DamagedData : public UnsavedError {
 public:
  using UnsavedError::UnsavedError;
};

struct VerificationCost {
  std::int64_t num_shards = 0, num_bytes = 0;
  double seconds = 0;
  std::string to_string() const;  // "2 shards, 41.2 MB, in 0.02 s"
};

// Reads the shards of both splits whole, beside other work, and compares their checksums: on a thread of one rank of
// each host, as hosts may have copies of their own.
class DataVerification {
 public:
  // Starts at once, unless the configuration says that nothing is to be verified: then it is done. `world`: all ranks.
  DataVerification(const ProcessGroup& world, const DataConfig& config);
  // Ends what is under way.
  ~DataVerification() = default;

  // Whether every host is done. Throws DamagedData, with the first problem found, once there is one on any of them.
  // Collective until it is true.
  bool is_done();
  // Of this rank; 0 shards if it read none. For when it is done.
  VerificationCost cost() const { return cost_; }

 private:
  void run(const std::vector<DataSource>& sources, const std::stop_token& stop);

  enum State : int { kWhole, kAtWork, kDamaged };

  const ProcessGroup world_;
  bool done_ = false;  // everywhere
  std::atomic<State> state_ = kWhole;
  VerificationCost cost_;  // valid, as problem_, once state_ is no longer kAtWork
  std::string problem_;
  std::jthread thread_;  // the last member: it ends before the others
};

// The same with nothing beside it; returns once every host is done. Collective.
VerificationCost verify_data(const ProcessGroup& world, const DataConfig& config);

}  // namespace mudelta
