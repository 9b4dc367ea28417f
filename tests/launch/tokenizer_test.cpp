// `mudelta tokenizer`, as a user runs it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/files.h"
#include "tests/support/program.h"

namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;

TEST(TokenizerCommand, TrainsEncodesAndDecodes) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 200; ++i) text += "the state decays, and the key writes its value " + std::to_string(i) + "\n";
  write_file(folder / "text.txt", text);
  const std::string file = (folder / "tokenizer.json").string(),
                    train = "tokenizer train --vocab 300 --out " + file + " ";
  const Outcome trained = mudelta(train + (folder / "text.txt").string());
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  EXPECT_THAT(trained.output, HasSubstr("300 tokens"));

  const std::string option = " --tokenizer " + file;
  EXPECT_THAT(mudelta("tokenizer encode --spell --text 'the state'" + option).output, HasSubstr("\u0120state\n"));
  const Outcome encoded = mudelta("tokenizer encode" + option + " " + (folder / "text.txt").string());
  ASSERT_EQ(encoded.exit_code, 0) << encoded.output;
  EXPECT_EQ(mudelta("tokenizer decode" + option + " " + encoded.output).output, text + "\n");
  EXPECT_EQ(mudelta("tokenizer encode --tokenizer byte --text ab").output, "97 98\n");

  const Outcome again = mudelta(train + (folder / "text.txt").string());
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, HasSubstr("--force"));
}

TEST(TokenizerCommand, BadInputIsToldOnce) {
  const TemporaryFolder folder;
  const std::string text = write_file(folder / "text.txt", "abc").string(), out = (folder / "out.json").string();
  for (const auto& [arguments, told] :
       {std::pair<std::string, std::string>{"train --vocab 256 --out " + out + " " + text, "--vocab"},
        {"train --vocab 300 --out " + out + " " + text, "gives 0 tokens"},
        {"train --vocab 300 --out " + out + " /nowhere", "/nowhere"},
        {"encode --tokenizer " + text + " --text a", "no tokenizer that is known"},
        {"encode --tokenizer byte --text a " + text, "both --text and a file"},
        {"decode --tokenizer byte 257", "257"},
        {"decode --tokenizer byte 1e3", "1e3"}}) {
    const Outcome outcome = mudelta("tokenizer " + arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(told)) << arguments;
  }
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace mudelta::testing
