// `mudelta eval` and `mudelta generate` on the checkpoint of a short run.

#include <gmock/gmock.h>

#include <cmath>
#include <sstream>
#include <string>

#include "tests/data/tokenizers/small_tokenizer.h"
#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Inference : public TrainingFixture {
 protected:
  static void SetUpTestSuite() {
    TrainingFixture::SetUpTestSuite();
    const Outcome outcome = train(1, "run");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  }

  static Outcome eval(int ranks, const std::string& more = "") {
    return mpirun(ranks, "eval --checkpoint " + path("run") + " --data " + path("data") + " " + more);
  }
  // The number on the line that starts with `name`.
  static double figure(const std::string& output, const std::string& name) {
    const std::size_t at = output.find("\n" + name);
    EXPECT_NE(at, std::string::npos) << output;
    return std::stod(output.substr(at + 1 + name.size()));
  }
  static Outcome generate(const std::string& more, int ranks = 1, const std::string& run = "run") {
    return shell(mpirun_command(ranks, "generate --checkpoint " + path(run) + " --tokens 40 " + more) + " 2>/dev/null");
  }
  // Of the target tokens, in their order.
  static std::vector<double> log_probabilities(const std::string& file) {
    std::vector<double> found;
    std::istringstream lines(read_file(path(file)));
    for (std::string line; std::getline(lines, line);) found.push_back(nlohmann::json::parse(line)["logprob"]);
    return found;
  }
};

TEST_F(Inference, EvalAgreesWithTrainingOnAnyNumberOfRanks) {
  for (const int ranks : {1, 2}) {
    const Outcome outcome = eval(ranks);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    const double loss = figure(outcome.output, "loss");
    EXPECT_NEAR(loss, final_validation_loss("run"), 1e-5);
    EXPECT_NEAR(figure(outcome.output, "perplexity"), std::exp(loss), 1e-3);
    EXPECT_GE(figure(outcome.output, "bits per byte"), loss / std::log(2.0) - 1e-3);  // separators are no bytes
  }
}

TEST_F(Inference, ATokenizerOfAFileGoesFromTheTextToTheModelAndBack) {
  write_file(path("mine.json"), byte_level_json({{"e", " "}, {"a", "n"}, {"an", "d"}, {"\xff", "\xff"}}).dump());
  const Outcome prepared = mudelta("prepare --input " + path("corpus.txt") + " --out " + path("tokens") +
                                   " --validation-fraction 0.1 --tokenizer " + path("mine.json"));
  ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
  const std::string data = " --set data.path=" + path("tokens"), steps = " --set train.steps=5";
  const Outcome trained = mpirun(2, train_arguments("bpe", data + steps));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  std::filesystem::remove(path("mine.json"));

  const std::string of_bpe = "--checkpoint " + path("bpe");
  const Outcome evaluated = mudelta("eval " + of_bpe + " --data " + path("tokens"));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  const double bytes_per_token =
      figure(evaluated.output, "loss") / std::log(2.0) / figure(evaluated.output, "bits per byte");
  EXPECT_GT(bytes_per_token, 1.02);
  EXPECT_LT(bytes_per_token, 1.5);
  const Outcome generated = mudelta("generate " + of_bpe + " --tokens 20 --prompt and");
  EXPECT_EQ(generated.exit_code, 0) << generated.output;
  EXPECT_THAT(generated.output, StartsWith("and"));

  EXPECT_THAT(mudelta("eval " + of_bpe + " --data " + path("data")).output, HasSubstr("tokenizer byte"));
  write_file(path("mine.json"), byte_level_json({{"a", "n"}, {"e", " "}, {"an", "d"}, {"\xff", "\xff"}}).dump());
  const Outcome other = mudelta("prepare --input " + path("corpus.txt") + " --out " + path("other") +
                                " --validation-fraction 0.1 --tokenizer " + path("mine.json"));
  ASSERT_EQ(other.exit_code, 0) << other.output;
  const Outcome resumed =
      mudelta(train_arguments("bpe", "--set data.path=" + path("other") + " --set train.steps=6 --resume"));
  EXPECT_EQ(resumed.exit_code, 2);
  EXPECT_THAT(resumed.output, HasSubstr("data.tokenizer is tokenizer.json:"));

  const Outcome exported = mudelta("export " + path("bpe") + " --format fla --out " + path("exported"));
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  const auto config = nlohmann::json::parse(read_file(path("exported/tokenizer_config.json")));
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["eos_token"], "<|endoftext|>");
  EXPECT_EQ(read_file(path("exported/tokenizer.json")), read_file(path("tokens/tokenizer.json")));

  EXPECT_EQ(mudelta("checkpoint verify " + path("bpe")).exit_code, 0);
  write_file(path("bpe/checkpoints/step-00000005/tokenizer.json"), "{}");
  const Outcome verified = mudelta("checkpoint verify " + path("bpe"));
  EXPECT_EQ(verified.exit_code, 1);
  EXPECT_THAT(verified.output, HasSubstr("tokenizer.json has the xxh64"));

  write_file(path("tokens/tokenizer.json"), "{}");
  EXPECT_THAT(mudelta(train_arguments("again", data + steps)).output, HasSubstr("tokens/tokenizer.json has the xxh64"));
}

TEST_F(Inference, PerTokenLogProbabilitiesAddUpToTheLoss) {
  const Outcome outcome = eval(1, "--per-token " + path("tokens.jsonl"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  std::istringstream lines(read_file(path("tokens.jsonl")));
  double sum = 0;
  std::int64_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto record = nlohmann::json::parse(line);
    EXPECT_EQ(record["position"], count + 1);
    EXPECT_LE(record["token"], 256);
    sum -= record["logprob"].get<double>();
  }
  EXPECT_NEAR(sum / static_cast<double>(count), figure(outcome.output, "loss"), 1e-5);
}

TEST_F(Inference, TensorRanksEvaluateAsOneProcess) {
  const double expected = figure(eval(1).output, "loss");
  const Outcome four = eval(4, "--tensor 2 --batch 3");  // two data ranks
  ASSERT_EQ(four.exit_code, 0) << four.output;
  EXPECT_NEAR(figure(four.output, "loss"), expected, 2e-6);

  const std::string odd = "--sequence-length 47 --force --per-token ";  // no multiple of the ranks
  ASSERT_EQ(eval(1, odd + path("alone.jsonl")).exit_code, 0);
  const Outcome two = eval(2, "--tensor 2 " + odd + path("tensor.jsonl"));
  ASSERT_EQ(two.exit_code, 0) << two.output;
  const std::vector<double> alone = log_probabilities("alone.jsonl"), tensor = log_probabilities("tensor.jsonl");
  ASSERT_GT(alone.size(), 1000u);
  ASSERT_EQ(tensor.size(), alone.size());
  for (std::size_t i = 0; i < alone.size(); ++i) ASSERT_NEAR(tensor[i], alone[i], 2e-5) << i;
}

TEST_F(Inference, TensorRanksGenerateTheTextOfOneProcess) {
  ASSERT_EQ(train(2, "tensor", "--set parallel.tensor=2 --set model.value_heads=4").exit_code, 0);
  for (const std::string run : {"run", "tensor"}) {  // a checkpoint's layout does not matter
    for (const std::string prompt : {"--prompt 'and a ' ", "--prompt '' "}) {
      const std::string options = prompt + "--temperature 0";
      const Outcome one = generate(options, 1, run), two = generate(options, 2, run);
      EXPECT_EQ(two.exit_code, 0) << two.output;
      EXPECT_GT(one.output.size(), 20u);
      EXPECT_EQ(two.output, one.output);
    }
  }
  const std::string options = "--prompt 'and a ' --temperature 0";  // more ranks than key heads
  EXPECT_EQ(generate(options, 4, "tensor").output, generate(options, 1, "tensor").output);
}

TEST_F(Inference, GenerateContinuesThePromptAndRepeatsItself) {
  const Outcome first = generate("--prompt 'and a ' --seed 7");
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_THAT(first.output, StartsWith("and a "));
  EXPECT_EQ(generate("--prompt 'and a ' --seed 7").output, first.output);
  EXPECT_NE(generate("--prompt 'and a ' --seed 8").output, first.output);
  EXPECT_EQ(generate("--prompt '' --temperature 0 --seed 1").output, generate("--prompt '' --temperature 0").output);
  EXPECT_EQ(generate("--prompt x --top-k 1 --seed 3").output, generate("--prompt x --temperature 0").output);
}

TEST_F(Inference, ACheckpointFolderServesAsWellAsItsRun) {
  const Outcome outcome =
      mudelta("eval --checkpoint " + path("run") + "/checkpoints/step-00000020 --data " + path("data"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
}

TEST_F(Inference, BadDataOnSomeRanksIsToldOnce) {
  const std::string damaged = path("damaged");
  std::filesystem::copy(path("data"), damaged, std::filesystem::copy_options::recursive);
  const auto names = names_in(damaged);
  const auto shard =
      std::ranges::find_if(names, [](const std::string& name) { return name.starts_with("validation"); });
  ASSERT_NE(shard, names.end());
  std::string bytes = read_file(damaged + "/" + *shard);
  bytes[bytes.size() - 1001] = '\x7f';  // in the second half, which is the last rank's
  bytes[bytes.size() - 1002] = '\x7f';
  write_file(damaged + "/" + *shard, bytes);
  for (const int ranks : {1, 2}) {
    const Outcome outcome = mpirun(ranks, "eval --checkpoint " + path("run") + " --data " + damaged);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, ranks == 1 ? "mudelta: error: " : "mudelta: error: rank 1: "), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "MPI_ABORT"), 0) << outcome.output;
  }
}

TEST_F(Inference, BadInputEndsWithTwo) {
  const auto expect_error = [](const Outcome& outcome, const std::string& message) {
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(message));
  };
  expect_error(mudelta("eval --checkpoint " + path("nowhere") + " --data " + path("data")), path("nowhere"));
  expect_error(eval(1, "--split test"), "--split is test");
  expect_error(eval(2, "--per-token " + path("x.jsonl")), "--per-token works on one data rank: this job has 2");
  const auto expect_told_once = [](const Outcome& outcome, const std::string& message) {
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error: "), 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(message));
    EXPECT_EQ(count(outcome.output, "MPI_ABORT"), 0) << outcome.output;
  };
  expect_told_once(eval(3, "--tensor 2"), "--tensor is 2: expected a divisor of the job's 3 ranks");
  expect_told_once(eval(2, "--tensor 0"), "--tensor: got 0, expected at least 1");
  const std::string parts = "model.value_heads is 2: expected a multiple of parallel.tensor, 3";
  expect_told_once(eval(3, "--tensor 3"), parts);
  expect_told_once(mpirun(3, "generate --prompt a --checkpoint " + path("run")), parts);
  expect_told_once(mpirun(2, "generate --prompt a --checkpoint " + path("nowhere")), path("nowhere"));
  const std::string start = "generate --prompt a --checkpoint " + path("run");
  expect_error(mudelta(start + " --temperature -1"), "--temperature is -1");
  expect_error(mudelta(start + " --top-p 0"), "--top-p is 0");
  expect_error(mudelta(start + " --top-k -2"), "--top-k: got -2");
}

TEST_F(Inference, EvalOfTextsOnAnyNumberOfRanks) {
  const std::string first = "the state decays and the key writes its value\n\n" + std::string(300, 'x');
  write_file(path("a.txt"), first);
  write_file(path("b.jsonl"), "{\"text\": \"state key\"}\noops\n{\"text\": \"gate, delta\\n\\nrule.\"}\n");
  const std::string arguments = "eval --checkpoint " + path("run") + " --text " + path("a.txt") + " " +
                                path("b.jsonl") + " --force --details " + path("details.jsonl");
  double alone = 0;
  for (const auto& [ranks, more] :
       {std::pair<int, std::string>{1, ""}, {2, " --batch 3"}, {3, " --batch 1"}, {2, " --tensor 2"}}) {
    const Outcome outcome = mpirun(ranks, arguments + more);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, AllOf(HasSubstr("1 bad line was skipped"), HasSubstr("\ndocuments      3 (")));
    const double nats = figure(outcome.output, "nats");
    if (ranks == 1) alone = nats;
    EXPECT_NEAR(nats, alone, 1e-4 * alone) << ranks << more;
    std::istringstream lines(read_file(path("details.jsonl")));
    double sum = 0, bytes = 0;
    for (std::string line; std::getline(lines, line);) {
      const auto record = nlohmann::json::parse(line);
      EXPECT_NEAR(record["bits_per_byte"], record["nats"].get<double>() / std::log(2.0) / record["bytes"].get<double>(),
                  1e-9);
      sum += record["nats"].get<double>();
      bytes += record["bytes"].get<double>();
    }
    EXPECT_NEAR(sum, nats, 1e-4 * nats);
    EXPECT_EQ(bytes, first.size() + 9 + 18);
    EXPECT_NEAR(figure(outcome.output, "bits per byte"), sum / std::log(2.0) / bytes, 1e-4);
  }
}

TEST_F(Inference, EvalOfATask) {
  // Words that the model has seen against others; by length, a long answer is not worse for being long.
  write_file(path("task.jsonl"), R"({"context": "the key writes its", "choices": [" qzj#!", " value"], "answer": 1}
{"ctx": "delta rule. state decays", "endings": ["and a key writes its value", "zqzqzqzqzqzqzqzqzqzqzqzqzq"], "label": "0"}
{"question": "gate,", "choices": {"text": ["@", "delta rule. state"], "label": ["A", "B"]}, "answerKey": "B"}
)");
  for (const int ranks : {1, 2}) {
    const Outcome outcome = mpirun(ranks, "eval --checkpoint " + path("run") + " --task " + path("task.jsonl") +
                                              " --force --details " + path("items.jsonl"));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, AllOf(HasSubstr("\nitems          3"), HasSubstr("\nby length      1.0000"),
                                      HasSubstr("\naccuracy       0.6667")));
    EXPECT_EQ(count(read_file(path("items.jsonl")), "\"logprobs\":["), 3);
  }
  write_file(path("last.jsonl"),
             "{\"text\": \"the key writes its value\"}\n{\"text\": \"the key writes its zebra\"}\n");
  const Outcome last = mpirun(2, "eval --checkpoint " + path("run") + " --task " + path("last.jsonl"));
  ASSERT_EQ(last.exit_code, 0) << last.output;
  EXPECT_THAT(last.output, AllOf(HasSubstr(" of 2)"), HasSubstr("nats each")));

  const Outcome bad = mudelta("eval --checkpoint " + path("run") + " --task " + path("corpus.txt"));
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.output, HasSubstr("corpus.txt:1: "));
  EXPECT_NE(mudelta("eval --checkpoint " + path("run")).exit_code, 0);
  EXPECT_NE(
      mudelta("eval --checkpoint " + path("run") + " --data " + path("data") + " --text " + path("a.txt")).exit_code,
      0);
}

}  // namespace
}  // namespace mudelta::testing
