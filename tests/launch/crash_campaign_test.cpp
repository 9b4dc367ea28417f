// Train, kill -9 at a random moment, go on, again and again. MUDELTA_CRASH_ROUNDS is the number of rounds (5 in all),
// MUDELTA_CRASH_SEED draws them.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;

struct Layout {
  int ranks;
  std::string settings;
};

class CrashCampaign : public TrainingFixture {
 protected:
  static inline const std::string kSettings =
      "--set schedule.kind=CONSTANT --set optimizer.adamw.lr=2e-4 --set train.micro_batch=2 --set train.eval_every=10 "
      "--set train.eval_sequences=4 --set checkpoint.every_steps=3 ";

  static std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* value = std::getenv(variable);
    return value != nullptr ? std::stoull(value) : otherwise;
  }

  // The step of the newest checkpoint; 0 with none.
  static std::int64_t committed(const std::string& run) {
    std::int64_t newest = 0;
    for (const std::string& name : checkpoints(run)) {
      if (name.starts_with("step-")) newest = std::max<std::int64_t>(newest, std::stoll(name.substr(5)));
    }
    return newest;
  }

  static std::map<std::int64_t, double> evaluations(const std::string& run) {
    std::map<std::int64_t, double> found;
    for (const auto& record : records(run)) {
      if (!record.contains("eval_loss")) continue;
      EXPECT_TRUE(found.emplace(record["step"], record["eval_loss"]).second) << "evaluated twice: " << record.dump();
    }
    return found;
  }

  // A job that one of its ranks ends by kill -9: in one of four rounds soon after it has claimed the run's folder, else
  // after some steps. (Open MPI 4.1's mpirun may wait for ever if a rank is killed within MPI_Init.)
  static Outcome crash(const std::string& run, const Layout& layout, const CounterRng& rng, std::uint64_t round) {
    const auto draw = [&](std::uint64_t which, std::uint64_t below) { return rng.bits(8 * round + which) % below; };
    const std::string victim =
        layout.ranks == 1 ? "$started" : fmt::format("$(pgrep -P $started | sed -n {}p)", 1 + draw(1, layout.ranks));
    const std::string steps = "$(cat " + path(run) + "/metrics.jsonl 2>/dev/null | grep -c '\"loss\"')";
    const std::string has_claimed = "kill -0 $(sed -n 's/^pid //p' " + path(run) + "/.lock 2>/dev/null) 2>/dev/null";
    const std::string has_got_on = fmt::format("[ {} -ge $((begun + {})) ]", steps, 1 + draw(4, 8));
    const std::string moment = draw(2, 4) == 0 ? wait_until(has_claimed) + fmt::format("sleep 0.{:03}\n", draw(3, 300))
                                               : "begun=" + steps + "\n" + wait_until(has_got_on) +
                                                     fmt::format("sleep 0.{:03}\n", draw(5, 40));
    return shell(mpirun_command(layout.ranks, train_arguments(run, kSettings + "--resume --set train.steps=1000000 " +
                                                                       layout.settings)) +
                 " & started=$!\n" + moment + "kill -9 " + victim + "; wait $started");
  }

  // The losses of a run that is killed `rounds` times, each time in one of the layouts, and of one that is not, in the
  // first layout.
  static void campaign(const std::string& run, const std::vector<Layout>& layouts, std::uint64_t rounds,
                       double tolerance) {
    const CounterRng rng(number_from("MUDELTA_CRASH_SEED", 1), run);
    std::int64_t before = 0, in_saves = 0;
    for (std::uint64_t round = 0; round < rounds; ++round) {
      const Layout& layout = layouts[rng.bits(8 * round) % layouts.size()];
      SCOPED_TRACE(fmt::format("round {}, {} ranks {}", round, layout.ranks, layout.settings));
      const Outcome outcome = crash(run, layout, rng, round);
      ASSERT_NE(outcome.exit_code, 0) << outcome.output;
      ASSERT_NE(outcome.exit_code, 2) << outcome.output;
      if (before > 0 && count(outcome.output, "goes on from step") > 0) {
        EXPECT_THAT(outcome.output, HasSubstr(fmt::format("goes on from step {}\n", before)));
      }
      const std::int64_t now = committed(run);
      EXPECT_GE(now, before) << "a checkpoint is lost";
      before = now;
      if (!std::filesystem::exists(path(run) + "/checkpoints")) continue;
      for (const std::string& name : checkpoints(run)) in_saves += name.starts_with(".");
      if (now == 0) continue;
      const Outcome verified = mudelta("checkpoint verify " + path(run));
      EXPECT_EQ(verified.exit_code, 0) << verified.output;
    }
    const std::string steps = "--set train.steps=" + std::to_string(before + 2) + " ";
    const Outcome last = train(layouts[0].ranks, run, kSettings + "--resume " + steps + layouts[0].settings);
    ASSERT_EQ(last.exit_code, 0) << last.output;
    const std::string whole = run + "-whole";
    ASSERT_EQ(train(layouts[0].ranks, whole, kSettings + steps + layouts[0].settings).exit_code, 0);
    const auto found = losses(run), expected = losses(whole), found_evaluations = evaluations(run),
               expected_evaluations = evaluations(whole);
    ASSERT_EQ(found.size(), expected.size());
    double largest = 0;
    for (const auto& [step, loss] : expected) {
      largest = std::max(largest, std::abs(found.at(step) - loss));
      EXPECT_NEAR(found.at(step), loss, tolerance) << "step " << step;
    }
    ASSERT_EQ(found_evaluations.size(), expected_evaluations.size());
    for (const auto& [step, loss] : expected_evaluations) EXPECT_NEAR(found_evaluations.at(step), loss, tolerance);
    fmt::print("{} rounds, {} steps, {} of them left an unfinished save; largest difference of a loss {:.2g}\n", rounds,
               before + 2, in_saves, largest);
  }

  static std::uint64_t rounds() { return number_from("MUDELTA_CRASH_ROUNDS", 5); }
};

TEST_F(CrashCampaign, InOneLayoutTheLossesAreThoseOfAnUninterruptedRunBitForBit) {
  campaign("one-layout", {{2, ""}}, rounds() / 2, 0);
}

TEST_F(CrashCampaign, InAnyLayoutsTheLossesAreThoseOfAnUninterruptedRunButForRounding) {
  campaign("any-layout",
           {{1, ""},
            {2, ""},
            {3, ""},
            {2, "--set parallel.tensor=2"},
            {2, "--set parallel.context=2"},
            {4, "--set parallel.tensor=2"}},
           rounds() - rounds() / 2, 1e-5);
}

}  // namespace
}  // namespace mudelta::testing
