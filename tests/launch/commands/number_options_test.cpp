#include "launch/commands/number_options.h"

#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Words = std::vector<std::string>;

// A command with one option of each kind.
struct Tool {
  CLI::App app;
  std::uint64_t seed = 1;
  int ranks = 1;
  double rate = 1;
  std::vector<std::int64_t> widths = {1};
  std::vector<std::string> kinds;
  std::string file;

  Tool() {
    CLI::App* command = app.add_subcommand("run");
    add_whole_number(*command, "--seed", seed, 0, "");
    add_whole_number(*command, "--ranks", ranks, 1, "");
    command->add_option("--rate", rate)->check(positive_number());
    add_list(*command, "--widths", widths, whole_number(1), "");
    add_list(*command, "--kinds", kinds, CLI::IsMember({"SP", "MUP"}, CLI::ignore_case), "");
    command->add_option("file", file);
  }
  void parse(Words words) {
    words.insert(words.begin(), "run");
    words = join_lists(app, words);
    std::ranges::reverse(words);
    app.parse(words);
  }
};

std::string error_of(const Words& words) {
  Tool tool;
  try {
    tool.parse(words);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return "none";
}

TEST(NumberOptions, TakePlainNumbers) {
  Tool tool;
  tool.parse({"--seed", "18446744073709551615", "--ranks", "010", "--rate", "1e-3"});
  EXPECT_EQ(tool.seed, 18446744073709551615u);
  EXPECT_EQ(tool.ranks, 10);
  EXPECT_EQ(tool.rate, 1e-3);
}

TEST(NumberOptions, OthersAreErrorsThatSayWhatWasExpected) {
  EXPECT_EQ(error_of({"--seed", "-1"}), "--seed: got -1, expected a whole number, at least 0");
  EXPECT_EQ(error_of({"--seed", "18446744073709551616"}),
            "--seed: got 18446744073709551616, expected at most 18446744073709551615");
  EXPECT_EQ(error_of({"--ranks", "4294967297"}), "--ranks: got 4294967297, expected at most 2147483647");
  EXPECT_EQ(error_of({"--ranks", "0"}), "--ranks: got 0, expected at least 1");
  for (const char* text : {"", "x", "1.5", "0x10", "1e3", " 1", "+1", "--", "1 "}) {
    EXPECT_NE(error_of({"--ranks=" + std::string(text)}), "none") << text;
  }
  EXPECT_EQ(error_of({"--rate", "1e999"}), "--rate: got 1e999, expected a finite number above 0");
  for (const char* text : {"nan", "inf", "-1", "0", "fast"}) EXPECT_NE(error_of({"--rate", text}), "none") << text;
}

TEST(ListOptions, AreSpeltInSeveralWays) {
  for (const Words& words : std::vector<Words>{{"--widths", "64,128"},
                                               {"--widths", "64", "128"},

                                               {"--widths=64", "128"},
                                               {"--widths", "64", "--widths", "128"},
                                               {"--widths", "64", "--seed", "3", "--widths", "128"}}) {
    Tool tool;
    tool.parse(words);
    EXPECT_THAT(tool.widths, ElementsAre(64, 128)) << words[1];
  }
}

TEST(ListOptions, EndAtWhatIsNoItem) {
  Tool tool;
  tool.parse({"--widths", "64", "128", "a.textproto", "--kinds", "sp", "MUP", "--ranks", "2"});
  EXPECT_THAT(tool.widths, ElementsAre(64, 128));
  EXPECT_THAT(tool.kinds, ElementsAre("SP", "MUP"));
  EXPECT_EQ(tool.file, "a.textproto");
  EXPECT_EQ(tool.ranks, 2);
}

TEST(ListOptions, WrongItemsAreErrors) {
  EXPECT_EQ(error_of({"--widths", "64,x"}), "--widths: got x, expected a whole number, at least 1");
  EXPECT_EQ(error_of({"--widths", "99999999999999999999"}),
            "--widths: got 99999999999999999999, expected at most 9223372036854775807");
  EXPECT_THAT(error_of({"--kinds", "SP,XP"}), HasSubstr("XP"));
}

}  // namespace
}  // namespace mudelta
