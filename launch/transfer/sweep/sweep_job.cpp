#include "launch/transfer/sweep/sweep_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <thread>

#include "dist/mpi.h"
#include "dist/watchdog.h"
#include "launch/job/agreement.h"
#include "launch/job/folder_lock.h"
#include "launch/job/heartbeat.h"
#include "launch/job/job_devices.h"
#include "launch/job/stop_signals.h"
#include "launch/job/stopwatch.h"
#include "launch/job/terminal.h"
#include "launch/train/data_verification.h"
#include "launch/train/memory_estimate.h"
#include "launch/transfer/sweep/sweep_display.h"
#include "launch/transfer/sweep/sweep_results.h"
#include "launch/transfer/sweep/sweep_run.h"

namespace mudelta {
namespace {

constexpr double kSecondsBetweenLooks = 2;
constexpr double kSecondsOfSleep = 0.5;
constexpr int kStoppedBySignal = 143;  // 128 + SIGTERM, as for `train`

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Rank 0's view of what all groups have finished.
class SweepWatch {
 public:
  SweepWatch(const SweepDirectory& folder, std::vector<SweepRun> runs, std::vector<double> costs)
      : folder_(folder),
        display_(stdout, std::move(runs), std::move(costs),
                 {.columns = terminal_columns(stdout),
                  .measure_columns = [] { return terminal_columns(stdout); },
                  .clock = monotonic_seconds}) {
    display_.start(folder.read());
  }

  void look(const std::string& status) {
    if (last_look_.seconds() >= kSecondsBetweenLooks) look();
    display_.working(status);
  }
  void look() {
    last_look_.lap();
    display_.update(folder_.read());
  }
  void finish() {
    look();
    display_.finish();
  }

 private:
  const SweepDirectory& folder_;
  SweepDisplay display_;
  Stopwatch last_look_;
};

// For each run '1' if it has a result; the same on every rank.
std::string find_finished(const ProcessGroup& world, const SweepDirectory& folder, const std::vector<SweepRun>& runs) {
  std::string finished(runs.size(), '0');
  run_or_fail_together(world, [&] {
    if (world.rank() != 0) return;
    for (const SweepResult& result : folder.gather()) {
      const auto run = std::ranges::find(runs, result.run);
      if (run != runs.end()) finished[static_cast<std::size_t>(run - runs.begin())] = '1';
    }
  });
  return world.all_gather(finished).front();
}

// Of the runs that are not finished, those that the group trains, in their order.
std::vector<SweepRun> runs_of_group(int group, int num_groups, const std::string& finished,
                                    const std::vector<SweepRun>& runs, const std::vector<double>& costs) {
  std::vector<SweepRun> pending, own;
  std::vector<double> pending_costs;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (finished[i] == '1') continue;
    pending.push_back(runs[i]);
    pending_costs.push_back(costs[i]);
  }
  const std::vector<int> groups = share_out(pending_costs, num_groups);
  for (std::size_t i = 0; i < pending.size(); ++i) {
    if (groups[i] == group) own.push_back(pending[i]);
  }
  return own;
}

// Of one group alone: which runs are at work at the same time is not known.
void require_memory_for(const std::vector<SweepRun>& runs, const SweepConfig& sweep, Device device) {
  for (const SweepRun& run : runs) {
    const int ranks = sweep.ranks_per_run(), data_ranks = mesh_sizes(ranks, sweep.run().parallel()).data;
    try {
      require_training_memory(config_of(sweep, run), data_ranks, std::min(ranks, rank_info().local_size), device);
    } catch (const Error& error) {
      fail("{}: {}", run.to_string(), error.what());
    }
  }
}

// Each group's file, made by its first rank; checks that all of them are in one folder.
std::unique_ptr<ResultWriter> open_results(const ProcessGroup& world, const ProcessGroup& group, int group_number,
                                           int num_groups, const SweepDirectory& folder) {
  std::unique_ptr<ResultWriter> writer;
  run_or_fail_together(world, [&] {
    if (group.rank() == 0) writer = std::make_unique<ResultWriter>(folder.results_of(group_number));
  });
  run_or_fail_together(world, [&] {
    if (world.rank() != 0) return;
    for (int number = 0; number < num_groups; ++number) {
      require(std::filesystem::exists(folder.results_of(number)),
              "{} is not the same folder on every rank: that of group {} is missing", folder.root().string(), number);
    }
  });
  return writer;
}

// Trains the runs of one group of ranks.
class SweepGroup {
 public:
  SweepGroup(const SweepDirectory& folder, const SweepConfig& sweep, const Mesh& mesh, Device device,
             ResultWriter* writer, SweepWatch* watch)
      : folder_(folder), sweep_(sweep), mesh_(mesh), device_(device), writer_(writer), watch_(watch) {}

  // Until all have results, or the sweep stops. An error of the group stops it.
  void train(const std::vector<SweepRun>& runs) {
    for (const SweepRun& run : runs) {
      if (!train(run)) return;
    }
  }

 private:
  bool train(const SweepRun& run) {
    try {
      const SweepRunRequest request{.run = run,
                                    .config = config_of(sweep_, run),
                                    .folder = folder_.folder_of(run),
                                    .keep_checkpoint = sweep_.keep_checkpoints()};
      const auto result =
          train_run(request, mesh_, device_, [this](const std::string& status) { return look(status); });
      if (!result) {
        if (is_first()) folder_.request_stop("");
        return false;
      }
      run_or_fail_together(mesh_.world(), [&] {
        if (!is_first()) return;
        writer_->append(*result);
        if (!request.keep_checkpoint) folder_.remove_folder_of(run);
      });
    } catch (const std::exception& error) {
      const bool shared = mesh_.world().size() == 1 || dynamic_cast<const SharedError*>(&error) != nullptr;
      if (!shared) throw;
      if (is_first()) folder_.request_stop(fmt::format("{}: {}", run.to_string(), error.what()));
      return false;
    }
    if (watch_ != nullptr) watch_->look();
    return true;
  }

  bool is_first() const { return mesh_.world().rank() == 0; }

  // Whether this rank knows that the sweep stops.
  bool look(const std::string& status) {
    if (watch_ != nullptr) watch_->look(status);
    if (stop_signalled()) return true;
    if (!is_first() || since_look_.seconds() < kSecondsBetweenLooks) return false;
    since_look_.lap();
    return folder_.stop_requested();
  }

  const SweepDirectory& folder_;
  const SweepConfig& sweep_;
  const Mesh& mesh_;
  const Device device_;
  ResultWriter* const writer_;  // null but on the group's first rank
  SweepWatch* const watch_;     // null but on rank 0
  Stopwatch since_look_;
};

// Until every run has its result, or the sweep stops. A group whose first rank is silent for the limit is an Error.
void wait_for_groups(const SweepDirectory& folder, const std::vector<SweepRun>& runs, HeartbeatWatch groups,
                     SweepWatch* watch) {
  const auto all_done = [&] {
    const std::vector<SweepResult> results = folder.read();
    return std::ranges::all_of(
        runs, [&](const SweepRun& run) { return std::ranges::binary_search(results, run, {}, &SweepResult::run); });
  };
  while (!folder.stop_requested() && !all_done()) {
    if (stop_signalled()) folder.request_stop("");
    if (watch != nullptr) watch->look("waiting for the other ranks");
    groups.look(kSecondsOfSleep);
    std::this_thread::sleep_for(std::chrono::duration<double>(kSecondsOfSleep));
  }
  if (watch != nullptr) watch->finish();
}

// Of every group's first rank.
HeartbeatWatch heartbeats(const SweepDirectory& folder, int num_groups, int ranks_per_run, int limit_seconds) {
  std::vector<HeartbeatWatch::Source> sources;
  for (int group = 0; group < num_groups; ++group) {
    sources.push_back({.name = fmt::format("rank {}", group * ranks_per_run), .file = folder.results_of(group)});
  }
  return HeartbeatWatch(std::move(sources), limit_seconds);
}

// What rank 0 does once no group trains any more. Returns the exit code.
int conclude(const SweepDirectory& folder, const std::vector<SweepRun>& runs, LossScale plot_scale) {
  const std::vector<SweepResult> results = folder.gather();
  const auto done = std::ranges::count_if(
      runs, [&](const SweepRun& run) { return std::ranges::binary_search(results, run, {}, &SweepResult::run); });
  const std::optional<std::string> stop = folder.take_stop_request();
  if (done == std::ssize(runs)) {
    fmt::print("\n{}", write_report(folder, plot_scale));
    return 0;
  }
  require(stop && stop->empty(), "{}", stop.value_or("the sweep ended before its time"));
  fmt::print("\nstopped by a signal: {} of {} runs have results; the same command goes on\n", done, runs.size());
  return kStoppedBySignal;
}

}  // namespace

std::vector<int> share_out(std::span<const double> costs, int num_groups) {
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater(), [&](std::size_t i) { return costs[i]; });
  std::vector<double> load(static_cast<std::size_t>(num_groups), 0);
  std::vector<int> groups(costs.size());
  for (const std::size_t i : order) {
    const auto least = std::ranges::min_element(load);
    *least += costs[i];
    groups[i] = static_cast<int>(least - load.begin());
  }
  return groups;
}

int run_sweep(const SweepRequest& request) {
  const ProcessGroup hosts = ProcessGroup::world();
  const SweepDirectory folder(request.out);
  SweepConfig sweep;
  std::vector<SweepRun> runs;
  std::vector<double> costs;
  std::optional<FolderLock> lock;
  run_or_fail_together(hosts, [&] {
    sweep = load_sweep(request.config, request.overrides);
    require(hosts.size() % sweep.ranks_per_run() == 0, "{} ranks: expected a multiple of ranks_per_run, {}",
            hosts.size(), sweep.ranks_per_run());
    runs = runs_of(sweep);
    for (const SweepRun& run : runs) costs.push_back(cost_of(config_of(sweep, run)));
    if (hosts.rank() != 0) return;
    folder.make();
    lock.emplace(folder.root());
    folder.write_config(sweep);
    folder.take_stop_request();
  });
  const int limit_seconds = sweep.run().parallel().timeout_seconds();
  limit_mpi_calls(limit_seconds);
  require_alike(hosts, "sweep", sweep.DebugString());
  const auto [device, world] =
      choose_devices(hosts, sweep.run().train().device(), sweep.run().parallel().gpu_transport());
  run_or_fail_together(world, [&, device = device] { require_memory_for(runs, sweep, device); });

  const int num_groups = world.size() / sweep.ranks_per_run(), group_number = world.rank() / sweep.ranks_per_run();
  const std::string finished = find_finished(world, folder, runs);
  if (finished.find('0') != finished.npos) {
    const VerificationCost cost = verify_data(world, sweep.run().data());
    if (world.rank() == 0 && cost.num_shards > 0) fmt::print("data verified: {}\n", cost.to_string());
  }
  const Mesh mesh(world.split(group_number, world.rank()), sweep.run().parallel());
  const auto writer = open_results(world, mesh.world(), group_number, num_groups, folder);
  std::optional<Heartbeat> heartbeat;
  if (writer) heartbeat.emplace(folder.results_of(group_number));
  std::optional<SweepWatch> watch;
  if (world.rank() == 0) watch.emplace(folder, runs, costs);
  SweepWatch* const watch_here = watch ? &*watch : nullptr;

  catch_stop_signals();
  SweepGroup(folder, sweep, mesh, device, writer.get(), watch_here)
      .train(runs_of_group(group_number, num_groups, finished, runs, costs));
  wait_for_groups(folder, runs, heartbeats(folder, num_groups, sweep.ranks_per_run(), limit_seconds), watch_here);
  world.barrier();
  return run_on_first_rank([&] { return conclude(folder, runs, request.plot_scale); });
}

}  // namespace mudelta
