#include "launch/train/data_verification.h"

#include <glog/logging.h>

#include <chrono>

#include "data/config_validation.h"
#include "data/dataset.h"
#include "data/dataset_info.h"
#include "dist/mpi.h"
#include "launch/job/stopwatch.h"

namespace mudelta {
namespace {

struct Stopped {};

}  // namespace

std::string VerificationCost::to_string() const {
  return fmt::format("{} shards, {:.1f} MB, in {:.2f} s", num_shards, static_cast<double>(num_bytes) / 1e6, seconds);
}

DataVerification::DataVerification(const ProcessGroup& world, const DataConfig& config) : world_(world) {
  done_ = !config.verify();
  if (done_ || rank_info().local_rank != 0) return;
  state_ = kAtWork;
  thread_ = std::jthread([this, sources = sources_of(config)](const std::stop_token& stop) { run(sources, stop); });
}

void DataVerification::run(const std::vector<DataSource>& sources, const std::stop_token& stop) {
  const Stopwatch stopwatch;
  try {
    for (const DataSource& source : sources) {
      const DatasetInfo info = read_dataset_info(source.path());
      for (const auto& shard : all_shards(info)) {
        verify_shard(source.path(), info, shard, [&](std::int64_t num_bytes) {
          if (stop.stop_requested()) throw Stopped();
          cost_.num_bytes += num_bytes;
        });
        ++cost_.num_shards;
      }
    }
    cost_.seconds = stopwatch.seconds();
    LOG(INFO) << "data verified: " << cost_.to_string();
    state_ = kWhole;
  } catch (const Stopped&) {
  } catch (const std::exception& error) {
    problem_ = error.what();
    state_ = kDamaged;
  }
}

bool DataVerification::is_done() {
  if (done_) return true;
  const State own = state_;
  const auto worst = static_cast<State>(world_.all_reduce(own, ReduceOp::kMax));
  if (worst == kDamaged) {
    try {
      run_or_fail_together(world_, [&] { require(own != kDamaged, "{}", problem_); });
    } catch (const SharedError& error) {
      throw DamagedData(fmt::format("{}; steps since this start may have learnt from it", error.what()));
    }
  }
  return done_ = worst == kWhole;
}

VerificationCost verify_data(const ProcessGroup& world, const DataConfig& config) {
  DataVerification verification(world, config);
  while (!verification.is_done()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return verification.cost();
}

}  // namespace mudelta
