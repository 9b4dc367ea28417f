#include "launch/sweep_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <thread>

#include "launch/agreement.h"
#include "launch/job_devices.h"
#include "launch/stopwatch.h"
#include "launch/sweep_report.h"
#include "launch/terminal.h"
#include "launch/trainer.h"

namespace mudelta {
namespace {

constexpr double kSecondsBetweenLooks = 2;

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
  // Until every run has its result.
  void wait() {
    for (look(); display_.num_done() < display_.num_runs(); look()) {
      display_.working("waiting for the other ranks");
      std::this_thread::sleep_for(std::chrono::duration<double>(kSecondsBetweenLooks / 4));
    }
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

SweepResult train_run(const SweepRun& run, const RunConfig& config, const Mesh& mesh, Device device,
                      const std::function<void(const std::string& status)>& step) {
  const Stopwatch stopwatch;
  Trainer trainer(config, mesh, device);
  SweepResult result{.run = run};
  const std::string name = run.to_string();
  bool diverged = false;
  while (trainer.steps_done() < config.train().steps() && !diverged) {
    try {
      const TrainStep done = trainer.step();
      step(fmt::format("{}: step {}/{}, loss {:.4f}", name, done.step, config.train().steps(), done.loss));
    } catch (const SharedError&) {  // too many steps in a row that were not finite
      diverged = true;
    }
  }
  if (!diverged) {
    const double loss = trainer.evaluate().loss;
    if (std::isfinite(loss)) result.loss = loss;
  }
  result.steps = trainer.steps_done();
  result.seconds = stopwatch.seconds();
  return result;
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
  });
  const auto [device, world] =
      choose_devices(hosts, sweep.run().train().device(), sweep.run().parallel().gpu_transport());

  const int num_groups = world.size() / sweep.ranks_per_run(), group_number = world.rank() / sweep.ranks_per_run();
  const std::string finished = find_finished(world, folder, runs);
  const Mesh mesh(world.split(group_number, world.rank()), 1, 1);
  const auto writer = open_results(world, mesh.world(), group_number, num_groups, folder);
  std::optional<SweepWatch> watch;
  if (world.rank() == 0) watch.emplace(folder, runs, costs);
  for (const SweepRun& run : runs_of_group(group_number, num_groups, finished, runs, costs)) {
    const SweepResult result = train_run(run, config_of(sweep, run), mesh, device, [&](const std::string& status) {
      if (watch) watch->look(status);
    });
    if (writer) writer->append(result);
    if (watch) watch->look();
  }
  if (watch) watch->wait();
  world.barrier();
  run_or_fail_together(world, [&] {
    if (world.rank() != 0) return;
    folder.gather();
    fmt::print("\n{}", write_report(folder));
  });
  return 0;
}

}  // namespace mudelta
