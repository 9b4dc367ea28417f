#include "optim/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "core/error.h"

namespace mudelta {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using ::testing::ThrowsMessage;

ScheduleConfig schedule(ScheduleConfig::Kind kind, std::int64_t warmup_steps = 0, std::int64_t decay_steps = 0) {
  ScheduleConfig config;
  config.set_kind(kind);
  config.set_warmup_steps(warmup_steps);
  config.set_decay_steps(decay_steps);
  return config;
}

std::vector<double> rates(const ScheduleConfig& config, double peak_lr, std::int64_t total_steps) {
  std::vector<double> all;
  for (std::int64_t step = 0; step < total_steps; ++step) {
    all.push_back(learning_rate(config, peak_lr, step, total_steps));
  }
  return all;
}

auto are(std::vector<double> expected) { return Pointwise(::testing::DoubleNear(1e-12), expected); }

TEST(Schedule, ConstantAfterWarmup) {
  EXPECT_THAT(rates(schedule(ScheduleConfig::CONSTANT, 4), 2, 7), are({0.5, 1, 1.5, 2, 2, 2, 2}));
  EXPECT_THAT(rates(schedule(ScheduleConfig::CONSTANT), 2, 2), are({2, 2}));
}

TEST(Schedule, LinearEndsAtATenth) {
  EXPECT_THAT(rates(schedule(ScheduleConfig::LINEAR), 1, 4), are({1, 0.7, 0.4, 0.1}));
  EXPECT_THAT(rates(schedule(ScheduleConfig::LINEAR, 2), 1, 5), are({0.5, 1, 0.7, 0.4, 0.1}));
}

TEST(Schedule, CosineEndsAtATenth) {
  // 0.1 + 0.9 (1 + cos(pi p)) / 2 at p = 0, 1/3, 2/3, 1
  EXPECT_THAT(rates(schedule(ScheduleConfig::COSINE), 1, 4), are({1, 0.775, 0.325, 0.1}));
  EXPECT_THAT(rates(schedule(ScheduleConfig::COSINE, 2), 1, 5), are({0.5, 1, 0.775, 0.325, 0.1}));
}

TEST(Schedule, StableThenDecaysOverItsLastSteps) {
  EXPECT_THAT(rates(schedule(ScheduleConfig::WSD, 2, 3), 1, 8), are({0.5, 1, 1, 1, 1, 0.7, 0.4, 0.1}));
  EXPECT_THAT(rates(schedule(ScheduleConfig::WSD, 0, 3), 1, 3), are({0.7, 0.4, 0.1}));
  EXPECT_THAT(rates(schedule(ScheduleConfig::WSD, 1, 0), 1, 3), are({1, 1, 1}));
}

TEST(Schedule, FinalRateAsRatioOrAsItself) {
  ScheduleConfig config = schedule(ScheduleConfig::LINEAR);
  config.set_final_ratio(0.5);
  EXPECT_THAT(rates(config, 8, 3), are({8, 6, 4}));
  config.set_final_ratio(0);
  EXPECT_THAT(rates(config, 8, 3), are({8, 4, 0}));
  config.set_final_lr(2);
  EXPECT_THAT(rates(config, 8, 3), are({8, 5, 2}));
  EXPECT_THAT(rates(config, 4, 3), are({4, 3, 2})) << "final_lr does not follow the peak";
}

TEST(Schedule, PapersRun) {
  ScheduleConfig config = schedule(ScheduleConfig::COSINE, 2000);
  config.set_final_lr(5e-5);
  EXPECT_DOUBLE_EQ(learning_rate(config, 4e-3, 0, 20'000), 2e-6);
  EXPECT_DOUBLE_EQ(learning_rate(config, 4e-3, 999, 20'000), 2e-3);
  EXPECT_DOUBLE_EQ(learning_rate(config, 4e-3, 1999, 20'000), 4e-3);
  EXPECT_NEAR(learning_rate(config, 4e-3, 10'999, 20'000), (4e-3 + 5e-5) / 2, 1e-15);
  EXPECT_DOUBLE_EQ(learning_rate(config, 4e-3, 19'999, 20'000), 5e-5);
}

TEST(Schedule, RunsOfOneStepAreAtThePeak) {
  for (const auto kind : {ScheduleConfig::CONSTANT, ScheduleConfig::LINEAR, ScheduleConfig::COSINE}) {
    EXPECT_THAT(rates(schedule(kind, 0), 1, 1), are({1}));
    EXPECT_THAT(rates(schedule(kind, 1), 1, 1), are({1}));
  }
}

TEST(Schedule, WarmupMayLastTheWholeRun) {
  EXPECT_THAT(rates(schedule(ScheduleConfig::COSINE, 4), 1, 4), are({0.25, 0.5, 0.75, 1}));
}

TEST(Schedule, RefusesWhatDoesNotFitTheRun) {
  EXPECT_THAT([] { learning_rate(schedule(ScheduleConfig::COSINE, 5), 1, 0, 4); },
              ThrowsMessage<Error>(HasSubstr("warmup_steps is 5, expected at most the run's 4 steps")));
  EXPECT_THAT([] { learning_rate(schedule(ScheduleConfig::WSD, 3, 2), 1, 0, 4); },
              ThrowsMessage<Error>(HasSubstr("decay_steps 2 = 5, expected at most the run's 4 steps")));
  EXPECT_NO_THROW(learning_rate(schedule(ScheduleConfig::COSINE, 3, 2), 1, 0, 4)) << "decay_steps is WSD's alone";
  EXPECT_THAT([] { learning_rate(schedule(ScheduleConfig::COSINE), 1, 4, 4); },
              ThrowsMessage<Error>(HasSubstr("step 4 of a run of 4 steps")));
  EXPECT_THAT([] { learning_rate(schedule(ScheduleConfig::COSINE), 1, -1, 4); },
              ThrowsMessage<Error>(HasSubstr("step -1")));
}

RC_GTEST_PROP(Schedule, RisesToThePeakThenNeverRisesAgain, ()) {
  const auto total_steps = *rc::gen::inRange<std::int64_t>(1, 200);
  const auto warmup = *rc::gen::inRange<std::int64_t>(0, total_steps + 1);
  const auto decay = *rc::gen::inRange<std::int64_t>(0, total_steps - warmup + 1);
  const auto kind =
      *rc::gen::element(ScheduleConfig::CONSTANT, ScheduleConfig::LINEAR, ScheduleConfig::COSINE, ScheduleConfig::WSD);
  const std::vector<double> all = rates(schedule(kind, warmup, decay), 3, total_steps);
  for (std::int64_t step = 0; step < total_steps; ++step) {
    RC_ASSERT(all[step] > 0 && all[step] <= 3);
    if (step == 0) continue;
    const bool rises = all[step] > all[step - 1];
    RC_ASSERT(rises == (step < warmup));
  }
}

}  // namespace
}  // namespace mudelta
