// README's way from JSON lines to a model that transformers opens, command by command.

#include <gmock/gmock.h>

#include <sstream>
#include <string>
#include <utility>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::ElementsAre;

class Readme : public TrainingFixture {};

TEST_F(Readme, FromJsonLinesToAModelOfTransformers) {
  std::string lines;
  for (int i = 0; i < 400; ++i) {
    lines +=
        nlohmann::json{{"text", "the state decays \U0001f600, and key " + std::to_string(i * 7919 % 1009) + " writes"}}
            .dump() +
        "\n";
  }
  // A vocabulary of README's size takes many different words, each twice.
  const CounterRng rng(1, "words");
  std::string text;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    std::string word;
    for (std::uint64_t bits = rng.bits(i); word.size() < 12; bits /= 26) word += static_cast<char>('a' + bits % 26);
    text += word + " and " + word + " ";
    if (i % 10 == 9) lines += nlohmann::json{{"text", std::exchange(text, "")}}.dump() + "\n";
  }
  write_file(path("corpus.jsonl"), lines);

  std::istringstream readme(read_file(MUDELTA_README));
  std::string line;
  while (std::getline(readme, line) && !line.starts_with("**Your own JSON lines")) {
  }
  int commands = 0;
  for (bool inside = false; std::getline(readme, line);) {
    if (line.starts_with("    mudelta ")) {
      inside = true;
      ++commands;
      const std::string program = std::filesystem::path(program_path()).parent_path().string();
      const Outcome outcome = shell("cd " + path("") + " && PATH=" + program + ":$PATH && " + line);
      ASSERT_EQ(outcome.exit_code, 0) << line << "\n" << outcome.output;
    } else if (inside) {
      break;
    }
  }
  EXPECT_EQ(commands, 5);
  EXPECT_THAT(names_in(path("models/mine")), ElementsAre("config.json", "generation_config.json", "model.safetensors",
                                                         "tokenizer.json", "tokenizer_config.json"));
  EXPECT_EQ(nlohmann::json::parse(read_file(path("models/mine/config.json")))["vocab_size"], 8000);
}

}  // namespace
}  // namespace mudelta::testing
