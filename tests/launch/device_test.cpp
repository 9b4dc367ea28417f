// Whole training runs on a GPU (or the emulator) compared with those on the CPU.

#include "tests/support/device.h"

#include <gmock/gmock.h>

#include <cmath>
#include <string>

#include "core/gpu.h"
#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;

class DeviceTraining : public TrainingFixture {
 protected:
  void SetUp() override {
    if (gpu::devices().empty()) GTEST_SKIP() << "no GPU: " << gpu::description();
  }

  // Small, as the emulator takes about a second for a step.
#define SMALL_RUN \
  "--set train.steps=5 --set train.global_batch=6 --set train.sequence_length=70 --set train.eval_sequences=6 "
  static constexpr const char* kCpu = SMALL_RUN "--set train.device=CPU ";
  static constexpr const char* kGpu = SMALL_RUN "--set train.device=CUDA ";
#undef SMALL_RUN
  // Large enough for the tensor-core kernels of the gated delta rule.
  static constexpr const char* kBFloat16 = "--set train.compute_dtype=BFLOAT16 --set model.head_dim=32 ";

  // A steep descent magnifies rounding many times a step.
  static constexpr const char* kGentle = "--set optimizer.adamw.lr=1e-3 ";

  static void expect_close(const std::string& actual, const std::string& expected, double tolerance) {
    const auto found = losses(actual), wanted = losses(expected);
    ASSERT_FALSE(wanted.empty());
    ASSERT_EQ(found.size(), wanted.size());
    for (const auto& [step, loss] : wanted) EXPECT_NEAR(found.at(step), loss, tolerance) << "step " << step;
    EXPECT_NEAR(final_validation_loss(actual), final_validation_loss(expected), tolerance);
  }
};

TEST_F(DeviceTraining, Float32IsThatOfTheCpu) {
  const std::string gentle = kGentle;
  const Outcome cpu = train(1, "cpu", kCpu + gentle);
  ASSERT_EQ(cpu.exit_code, 0) << cpu.output;
  const Outcome gpu = train(1, "gpu", kGpu + gentle + "--set train.micro_batch=3 --set model.recompute=SELECTIVE");
  ASSERT_EQ(gpu.exit_code, 0) << gpu.output;
  expect_close("gpu", "cpu", 2e-5);
  EXPECT_LT(losses("gpu").at(5), losses("gpu").at(1));

  for (const int ranks : {2, 3}) {
    const std::string run = "gpu" + std::to_string(ranks);
    const Outcome outcome = train(ranks, run, kGpu + gentle + "--set parallel.gpu_transport=HOST");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    expect_close(run, "cpu", 2e-5);
  }
  const Outcome parts =
      train(2, "context", kGpu + gentle + "--set parallel.gpu_transport=HOST --set parallel.context=2");
  ASSERT_EQ(parts.exit_code, 0) << parts.output;
  expect_close("context", "cpu", 2e-5);
  for (const std::string stage : {"0", "2", "3"}) {
    const Outcome outcome = train(2, "zero" + stage,
                                  kGpu + gentle + "--set parallel.gpu_transport=HOST --set train.micro_batch=1 " +
                                      "--set parallel.zero_stage=" + stage);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    expect_close("zero" + stage, "cpu", 2e-5);
  }
}

// Through the host, as the ranks may share a device.
TEST_F(DeviceTraining, TensorRanksAreThoseOfTheCpu) {
  const std::string gentle = kGentle, host = "--set parallel.gpu_transport=HOST --set parallel.tensor=2 ";
  ASSERT_EQ(train(1, "whole_cpu", kCpu + gentle).exit_code, 0);
  const std::pair<int, std::string> layouts[] = {{2, ""},
                                                 {4, "--set train.micro_batch=1 --set model.recompute=FULL"},
                                                 {2, "--set parallel.sequence_parallel=false"}};
  for (const auto& [ranks, settings] : layouts) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks " + settings);
    const Outcome outcome = train(ranks, "parts", kGpu + gentle + host + settings);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    expect_close("parts", "whole_cpu", 2e-5);
    for (const auto& record : records("parts")) {
      if (record.contains("loss") && record["step"] > 1) {  // the first record comes before a device's times do
        EXPECT_GT(record["seconds"]["communication"], 0);
      }
    }
    if (ranks == 2 && settings.empty()) {
      const std::string eval = "eval --checkpoint " + path("parts") + " --data " + path("data") + " --sequences 6";
      const auto loss_of = [](const Outcome& evaluated) {
        EXPECT_EQ(evaluated.exit_code, 0) << evaluated.output;
        return std::stod(evaluated.output.substr(evaluated.output.find("loss ") + std::string_view("loss ").size()));
      };
      EXPECT_NEAR(loss_of(mpirun(2, eval + " --tensor 2 --device cuda")), loss_of(mudelta(eval + " --device cpu")),
                  2e-6);
      const auto generated = [](int of_ranks, const std::string& device) {
        const std::string generate =
            "generate --checkpoint " + path("parts") + " --prompt g --tokens 8 --temperature 0";
        return shell(mpirun_command(of_ranks, generate + " --device " + device) + " 2>/dev/null");
      };
      const Outcome on_cpu = generated(1, "cpu"), on_gpus = generated(2, "cuda");
      EXPECT_EQ(on_gpus.exit_code, 0) << on_gpus.output;
      EXPECT_GT(on_cpu.output.size(), 4u);
      EXPECT_EQ(on_gpus.output, on_cpu.output);
    }
    std::filesystem::remove_all(path("parts"));
  }
  ASSERT_EQ(train(1, "wide_cpu", std::string(kCpu) + kGentle + "--set model.head_dim=32").exit_code, 0);
  const Outcome narrow = train(2, "narrow", std::string(kGpu) + kGentle + kBFloat16 + host);
  ASSERT_EQ(narrow.exit_code, 0) << narrow.output;
  expect_close("narrow", "wide_cpu", 1e-2);
}

TEST_F(DeviceTraining, BFloat16IsNearTheCpusFloat32) {
  ASSERT_EQ(train(1, "cpu32", std::string(kCpu) + kGentle + "--set model.head_dim=32").exit_code, 0);
  const Outcome outcome = train(1, "gpu16", std::string(kGpu) + kGentle + kBFloat16);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  expect_close("gpu16", "cpu32", 1e-2);
  const std::string parts =
      "--set parallel.gpu_transport=HOST --set parallel.context=3 --set train.sequence_length=72 "
      "--set parallel.zero_stage=3 ";
  ASSERT_EQ(train(1, "cpu72", std::string(kCpu) + kGentle + "--set model.head_dim=32 --set train.sequence_length=72")
                .exit_code,
            0);
  const Outcome over_ranks = train(3, "parts16", std::string(kGpu) + kGentle + kBFloat16 + parts);
  ASSERT_EQ(over_ranks.exit_code, 0) << over_ranks.output;
  expect_close("parts16", "cpu72", 1e-2);
}

TEST_F(DeviceTraining, BFloat16StaysNearTheCpusFloat32) {
  if (kEmulated) GTEST_SKIP() << "fifty steps take the emulator minutes";
  write_file(path("fifty.textproto"), R"(
      model { width: 64 layers: 2 heads: 2 head_dim: 32 }
      train { steps: 50 global_batch: 8 sequence_length: 128 eval_sequences: 6 }
      optimizer { adamw { lr: 1e-3 } }
      schedule { warmup_steps: 4 })");
  const std::string options = "train " + path("fifty.textproto") + " --set data.path=" + path("data");
  for (const std::string run : {"cpu50 --set train.device=CPU", "gpu50 --set train.device=CUDA"}) {
    const bool on_gpu = run.starts_with("gpu");
    const Outcome outcome =
        mudelta(options + " --out " + path(run) + (on_gpu ? " --set train.compute_dtype=BFLOAT16" : ""));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  }
  expect_close("gpu50", "cpu50", 1e-2);
}

TEST_F(DeviceTraining, RepeatsAndResumesBitForBit) {
  const std::string options = std::string(kGpu) + kBFloat16 + "--set checkpoint.every_steps=2 --set checkpoint.keep=0 ";
  for (const char* run : {"whole", "again"}) {
    const Outcome outcome = train(2, run, options + "--set parallel.gpu_transport=HOST");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  }
  EXPECT_EQ(losses("whole"), losses("again"));

  // As if it had been killed after the checkpoint of step 2.
  for (const char* later : {"step-00000004", "step-00000005"}) {
    std::filesystem::remove_all(path("again") + "/checkpoints/" + later);
  }
  const Outcome resumed = train(2, "again", options + "--set parallel.gpu_transport=HOST --resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("goes on from step 2"));
  EXPECT_EQ(losses("whole"), losses("again"));
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(shard_bytes("whole", "step-00000005", rank, 2), shard_bytes("again", "step-00000005", rank, 2));
  }
}

TEST_F(DeviceTraining, ACudaGraphGivesTheSameBits) {
  const std::string options = std::string(kGpu) + kBFloat16 +
                              "--set train.steps=10 --set train.micro_batch=3 "
                              "--set train.eval_every=4 --set checkpoint.every_steps=3 --set checkpoint.keep=0 "
                              "--set model.recompute=SELECTIVE ";
  const Outcome eager = train(1, "eager", options);
  ASSERT_EQ(eager.exit_code, 0) << eager.output;
  for (const char* more : {"", " --resume"}) {
    const Outcome outcome = train(1, "graph", options + "--set train.cuda_graph=true" + more);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(losses("graph").size(), 10u);
    EXPECT_EQ(losses("graph"), losses("eager"));
    EXPECT_EQ(final_validation_loss("graph"), final_validation_loss("eager"));
    EXPECT_TRUE(shard_bytes("graph", "step-00000010", 0, 1) == shard_bytes("eager", "step-00000010", 0, 1));
    for (const char* later : {"step-00000009", "step-00000010"}) {
      std::filesystem::remove_all(path("graph") + "/checkpoints/" + later);
    }
  }
}

TEST_F(DeviceTraining, RanksWithCudaGraphsGiveTheSameBits) {
  const std::string options = std::string(kGpu) + "--set parallel.gpu_transport=HOST --set train.micro_batch=1 " +
                              "--set data.reset_at_documents=false ";  // one sequence a pass: one recording
  ASSERT_EQ(train(2, "eager2", options).exit_code, 0);
  const Outcome outcome = train(2, "graph2", options + "--set train.cuda_graph=true");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(losses("graph2"), losses("eager2"));
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_TRUE(shard_bytes("graph2", "step-00000005", rank, 2) == shard_bytes("eager2", "step-00000005", rank, 2));
  }
}

TEST_F(DeviceTraining, EvaluatesAndGeneratesAsTheCpu) {
  ASSERT_EQ(train(1, "model", std::string(kCpu) + "--set train.steps=20 --set schedule.warmup_steps=2").exit_code, 0);
  const auto run = [](const std::string& command, const std::string& device) {
    const Outcome outcome = mudelta(command + " --device " + device);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return outcome.output;
  };
  const std::string generate = "generate --checkpoint " + path("model") + " --prompt gate --tokens 12 --temperature 0";
  const auto text_of = [](const std::string& output) { return output.substr(0, output.find("\n(")); };
  EXPECT_EQ(text_of(run(generate, "cuda")), text_of(run(generate, "cpu")));

  const std::string eval =
      "eval --checkpoint " + path("model") + " --data " + path("data") + " --sequences 4 --sequence-length 40";
  const auto loss_of = [](const std::string& output) {
    return std::stod(output.substr(output.find("loss ") + std::string_view("loss ").size()));
  };
  // A loss near 5, of float32 sums in the order that the library of products takes.
  EXPECT_NEAR(loss_of(run(eval, "cuda")), loss_of(run(eval, "cpu")), 1e-5);
}

}  // namespace
}  // namespace mudelta::testing
