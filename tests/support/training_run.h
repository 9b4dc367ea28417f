#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/rng.h"
#include "tests/support/files.h"
#include "tests/support/program.h"

namespace mudelta::testing {

// A folder with a small data set and a small model's configuration, to be trained by the program.
class TrainingFixture : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    write_file(*folder_ / "corpus.txt", text());
    const Outcome prepared =
        mudelta("prepare --input " + path("corpus.txt") + " --out " + path("data") + " --validation-fraction 0.1");
    ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
    write_file(*folder_ / "run.textproto", R"(
        model { width: 32 layers: 2 heads: 2 head_dim: 8 mlp_size: 48 init_std: 0.1 conv_init_std: 0.3 }
        train { steps: 20 global_batch: 12 sequence_length: 48 }
        optimizer { adamw { lr: 1e-2 } }
        schedule { warmup_steps: 4 }
        parallel { bucket_mib: 0.02 })");
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  // Words drawn from a few, in documents of very different lengths.
  static std::string text() {
    const CounterRng rng(1, "corpus");
    const char* words[] = {"state", "decays ", "and a", "key", "writes", "its value", "o", "gate, ", "delta", "rule."};
    std::string text;
    for (std::uint64_t i = 0; i < 6000; ++i) {
      text += words[rng.bits(i) % 10];
      text += rng.bits(i + (1u << 20)) % 40 == 0 ? "\n\n" : " ";
    }
    return text;
  }

  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }

  static std::string train_arguments(const std::string& run, const std::string& more = "") {
    return "train " + path("run.textproto") + " --set data.path=" + path("data") + " --out " + path(run) + " " + more;
  }

  static Outcome train(int ranks, const std::string& run, const std::string& more = "") {
    return mpirun(ranks, train_arguments(run, more));
  }

  // The lines of metrics.jsonl.
  static std::vector<nlohmann::json> records(const std::string& run) {
    std::vector<nlohmann::json> found;
    std::ifstream file(path(run) + "/metrics.jsonl");
    for (std::string line; std::getline(file, line);) found.push_back(nlohmann::json::parse(line));
    return found;
  }

  // The training loss of each step, from metrics.jsonl. Fails if a step stands there twice.
  static std::map<std::int64_t, double> losses(const std::string& run) {
    std::map<std::int64_t, double> found;
    std::ifstream file(path(run) + "/metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto record = nlohmann::json::parse(line);
      if (!record.contains("loss")) continue;
      EXPECT_TRUE(found.emplace(record["step"], record["loss"]).second) << "step twice: " << line;
    }
    return found;
  }

  static double final_validation_loss(const std::string& run) {
    double loss = -1;
    std::ifstream file(path(run) + "/metrics.jsonl");
    for (std::string line; std::getline(file, line);) loss = nlohmann::json::parse(line).value("eval_loss", loss);
    return loss;
  }

  static std::vector<std::string> checkpoints(const std::string& run) { return names_in(path(run) + "/checkpoints"); }

  static std::string shard_bytes(const std::string& run, const std::string& checkpoint, int rank, int ranks) {
    char name[64];
    std::snprintf(name, sizeof name, "/shard-%05d-of-%05d.safetensors", rank, ranks);
    return read_file(path(run) + "/checkpoints/" + checkpoint + name);
  }

 private:
  static inline TemporaryFolder* folder_ = nullptr;
};

}  // namespace mudelta::testing
