#include "launch/train/resume_notes.h"

#include <gmock/gmock.h>

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

RunConfig cosine(std::int64_t steps, double lr) {
  RunConfig config;
  config.mutable_train()->set_steps(steps);
  config.mutable_optimizer()->mutable_adamw()->set_lr(lr);
  return config;
}

TEST(ResumeNotes, NameEveryFieldThatChanged) {
  const RunConfig before = cosine(100, 4e-3);
  EXPECT_THAT(config_changes(before, before), IsEmpty());
  RunConfig now = before;
  now.mutable_checkpoint()->set_keep(2);  // the default
  EXPECT_THAT(config_changes(before, now), IsEmpty());
  now.mutable_train()->set_steps(200);
  now.mutable_train()->set_compute_dtype(TrainConfig::BFLOAT16);
  now.mutable_train()->set_micro_batch(2);
  now.mutable_optimizer()->mutable_adamw()->set_beta2(0.98);
  now.mutable_schedule()->set_final_lr(1e-4);
  now.mutable_data()->set_path("elsewhere");
  ScalingOverride& scaling = *now.mutable_parametrization()->add_scaling();
  scaling.set_role(ScalingOverride::GATE);
  EXPECT_THAT(config_changes(before, now),
              ElementsAre("data.path: none -> \"elsewhere\"", "train.steps: 100 -> 200", "train.micro_batch: none -> 2",
                          "train.compute_dtype: FLOAT32 -> BFLOAT16", "optimizer.adamw.beta2: 0.95 -> 0.98",
                          "schedule.final_ratio: 0.1 -> none", "schedule.final_lr: none -> 0.0001",
                          ::testing::StartsWith("parametrization.scaling: none -> ")));
}

TEST(ResumeNotes, SayWhereTheLearningRateGoes) {
  const RunConfig before = cosine(100, 4e-3);
  EXPECT_THAT(resume_notes(before, before, 50),
              ElementsAre("the configuration is as before", "learning rate 0.002229 in step 50, 0.002171 in step 51"));
  EXPECT_THAT(
      resume_notes(before, cosine(200, 4e-3), 100),
      ElementsAre("changed: train.steps: 100 -> 200",
                  "learning rate 0.0004 in step 100, 0.002186 in step 101; it rises, after a run that had ended"));
  EXPECT_THAT(resume_notes(before, cosine(100, 2e-3), 50),
              ElementsAre("changed: optimizer.adamw.lr: 0.004 -> 0.002",
                          "learning rate 0.002229 in step 50, 0.001086 in step 51; it would have been 0.002171"));
  EXPECT_THAT(resume_notes(before, before, 100), ElementsAre("the configuration is as before"));
}

}  // namespace
}  // namespace mudelta
