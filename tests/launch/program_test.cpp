// The program as a user runs it: exit codes, messages, and that no rank hangs (ctest's time limit ends a hung one).

#include "tests/support/program.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <string>

#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(Program, HelpNamesEveryCommand) {
  const Outcome help = mudelta("--help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command :
       {"prepare", "data", "configs", "train", "eval", "generate", "sweep", "scale-up", "plan", "bench", "info"}) {
    EXPECT_THAT(help.output, HasSubstr(std::string("\n  ") + command + " "));
    const Outcome own = mudelta(std::string(command) + " --help");
    EXPECT_EQ(own.exit_code, 0) << command;
    EXPECT_THAT(own.output, HasSubstr(command));
  }
  EXPECT_EQ(mudelta("--version").exit_code, 0);
}

TEST(Program, WrongCommandLinesEndWithTwo) {
  const Outcome nothing = mudelta("");
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.output, AllOf(StartsWith("mudelta: error: "), HasSubstr("mudelta --help")));
  const Outcome misspelt = mudelta("prepaer --out x");
  EXPECT_EQ(misspelt.exit_code, 2);
  EXPECT_EQ(misspelt.output,
            "mudelta: error: `prepaer` is not a command; did you mean `prepare`? (see mudelta --help)\n");
  const Outcome incomplete = mudelta("prepare --out x");
  EXPECT_EQ(incomplete.exit_code, 2);
  EXPECT_THAT(incomplete.output, AllOf(HasSubstr("--input"), HasSubstr("mudelta prepare --help")));
  EXPECT_EQ(mudelta("info --nonsense").exit_code, 2);
  EXPECT_EQ(mudelta("prepare --input x --out y --seed many").exit_code, 2);
}

TEST(Program, ResultsReplaceNothingUnlessTold) {
  const TemporaryFolder folder;
  const std::string file = write_file(folder / "file", "a result").string();
  for (const std::string& command :
       {"scale-up --from " + folder.path().string() + " --out ", "coord-check " + file + " --out "}) {
    const Outcome outcome = mudelta(command + file);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, AllOf(StartsWith("mudelta: error: " + file), HasSubstr("expected")));
  }
  EXPECT_EQ(read_file(file), "a result");
}

TEST(Program, InfoNamesItsLibraries) {
  const Outcome info = mudelta("info");
  EXPECT_EQ(info.exit_code, 0);
  for (const char* name : {"mudelta", "CPU", "memory", "oneDNN", "Highway", "OpenMP", "MPI", "protobuf", "CUDA"}) {
    EXPECT_EQ(count("\n" + info.output, std::string("\n") + name + " "), 1) << name;
  }
}

TEST(Program, WhatStdoutDoesNotTakeIsAnError) {
  for (const std::string arguments : {"info", "--help", "train --help"}) {
    const Outcome full = shell(program_path() + " " + arguments + " 2>&1 > /dev/full");
    EXPECT_EQ(full.exit_code, 2) << arguments;
    EXPECT_EQ(full.output, "mudelta: error: cannot write to the standard output: No space left on device\n");
  }
}

TEST(Program, EachHelpHasItsOwnExample) {
  EXPECT_THAT(mudelta("info --help").output, AllOf(HasSubstr("mudelta info"), Not(HasSubstr("mudelta prepare"))));
}

TEST(Program, ListsAreSpeltInSeveralWays) {
  const std::string bench = "bench --layers 1 --vocab-size 16 --sequences 1 --sequence-length 8 --seconds 0.001 ";
  for (const std::string widths : {"--widths 16,32", "--widths 16 32", "--widths 16 --widths 32", "--widths=16 32"}) {
    const Outcome outcome = mudelta(bench + "--no-rule --no-kernels --no-training " + widths);
    EXPECT_EQ(outcome.exit_code, 0) << widths << ": " << outcome.output;
  }
  const Outcome shapes = mudelta(bench + "--no-kernels --no-training --rule 1x8,1/1,8x8,1x8,1/2,8x8 1x8,2/2,8x8");
  for (const char* shape : {"1x8,1/1,8x8 ", "1x8,1/2,8x8 ", "1x8,2/2,8x8 "}) {
    EXPECT_EQ(count(shapes.output, shape), 1) << shapes.output;
  }
  const Outcome word = mudelta(bench + "--widths 16,wide");
  EXPECT_EQ(word.exit_code, 2);
  EXPECT_EQ(word.output,
            "mudelta: error: --widths: got wide, expected a whole number, at least 1 (see mudelta bench --help)\n");
}

TEST(Program, PrepareMakesADataSet) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "one\n\ntwo\n\nthree");
  const std::string out = (folder / "data").string();
  const std::string arguments = "prepare --input " + (folder / "a.txt").string() + " --out " + out;
  const Outcome prepared = mudelta(arguments);
  EXPECT_EQ(prepared.exit_code, 0) << prepared.output;
  EXPECT_THAT(prepared.output, HasSubstr("3 documents"));
  EXPECT_TRUE(std::filesystem::exists(folder / "data/dataset.json"));
  const Outcome again = mudelta(arguments);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, AllOf(StartsWith("mudelta: error: "), HasSubstr(out)));
}

TEST(Program, AStoppedPrepareKeepsNothing) {
  const TemporaryFolder folder;
  const std::string input = (folder / "long.txt").string(), out = (folder / "data").string();
  const Outcome outcome =
      shell("yes 'a text of some length, and then again' | head -c 200000000 >" + input + "\n" + program_path() +
            " prepare --input " + input + " --out " + out + " & started=$!\n" +
            testing::wait_until("ls " + out + " 2>/dev/null | grep -q tmp") + "kill -TERM $started\nwait $started");
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_EQ(count(outcome.output, "mudelta: error: stopped by a signal: nothing is kept in " + out + "\n"), 1)
      << outcome.output;
  EXPECT_THAT(testing::names_in(out), ::testing::IsEmpty());
}

TEST(Program, PrepareSeparatorIsEscaped) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt",
             "one\ttwo\fthree\nfour\x1e"
             "five\vsix\\");
  auto prepare = [&, number = 0](const std::string& separator) mutable {
    return mudelta("prepare --input " + (folder / "a.txt").string() + " --out " +
                   (folder / std::to_string(number++)).string() + " --separator '" + separator + "'")
        .output;
  };
  for (const char* two : {"\\t", "\\f", "\\x1E", "three\\nfour"}) {
    EXPECT_THAT(prepare(two), HasSubstr("2 documents")) << two;
  }
  EXPECT_THAT(prepare("\\\\"), HasSubstr("1 documents"));
  for (const char* bad : {"\\", "\\y", "\\x1g"}) {
    EXPECT_THAT(prepare(bad), HasSubstr(std::string("--separator ") + bad + ": after a backslash expected")) << bad;
  }
}

TEST(Program, PrepareSaysWhatItTookForDocuments) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "one\r\n\r\nthree");
  write_file(folder / "b.txt", "");
  const std::string inputs =
      "prepare --input " + (folder / "a.txt").string() + " " + (folder / "b.txt").string() + " --out ";
  const Outcome by_default = mudelta(inputs + (folder / "0").string());
  EXPECT_THAT(by_default.output, AllOf(HasSubstr("2 files, 1 of them empty"), HasSubstr("CRLF line ends in 1 of 2"),
                                       HasSubstr("2 documents, of 3 bytes at the median"), HasSubstr("--whole-files")));
  const Outcome whole = mudelta(inputs + (folder / "1").string() + " --whole-files");
  EXPECT_THAT(whole.output, AllOf(HasSubstr("1 documents, of 12 bytes"), ::testing::Not(HasSubstr("--whole-files"))));
}

// It would wait for the pipe's other end for ever.
TEST(Program, PipesAreRefused) {
  const TemporaryFolder folder;
  const std::string pipe = (folder / "pipe").string(), out = " --out " + (folder / "out").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& command : {"prepare --input " + pipe + out, "train " + pipe + out, "sweep " + pipe + out}) {
    const Outcome refused = mudelta(command);
    EXPECT_EQ(refused.exit_code, 2) << command;
    EXPECT_THAT(refused.output, HasSubstr(pipe + " is not a regular file but a pipe")) << command;
  }
}

TEST(Program, DataVerifyFindsDamage) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "one\n\ntwo\n\nthree\n\nfour");
  const std::string data = (folder / "data").string(), shard = data + "/train_000001.bin";
  ASSERT_EQ(mudelta("prepare --shard-tokens 5 --input " + (folder / "a.txt").string() + " --out " + data).exit_code, 0);
  const Outcome good = mudelta("data verify " + data);
  EXPECT_EQ(good.exit_code, 0) << good.output;
  EXPECT_THAT(good.output, HasSubstr("all as dataset.json says"));
  std::string bytes = read_file(shard);
  bytes.back() ^= 1;
  write_file(shard, bytes);
  std::filesystem::resize_file(data + "/validation_000000.bin", 1000);
  const Outcome bad = mudelta("data verify " + data);
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.output, AllOf(HasSubstr("shard " + shard + " is damaged"),
                                HasSubstr("validation_000000.bin has 1000"), HasSubstr("mudelta: error: 2 of the ")));
  EXPECT_EQ(mudelta("data verify " + (folder / "absent").string()).exit_code, 2);
  EXPECT_THAT(mudelta("data").output, HasSubstr("mudelta data --help"));
}

TEST(Program, PrepareErrorsWriteNothing) {
  const TemporaryFolder folder;
  const std::string absent = (folder / "absent.txt").string();
  const Outcome missing = mudelta("prepare --input " + absent + " --out " + (folder / "data").string());
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.output, HasSubstr(absent));
  EXPECT_THAT(names_in(folder.path()), ElementsAre());
}

TEST(Program, BadConfigurationEndsWithTwoAndWritesNothing) {
  const TemporaryFolder folder;
  const auto config = write_file(folder / "run.textproto", "data { path: 'x' }\nmodel { widht: 3 }\n");
  const std::string arguments = "train " + config.string() + " --out " + (folder / "run").string();
  const std::string expected =
      "mudelta: error: " + config.string() + ":2:9: `model` has no field `widht`; did you mean `width`?\n";
  const Outcome alone = mudelta(arguments);
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_EQ(alone.output, expected);
  const Outcome together = mpirun(2, arguments);
  EXPECT_EQ(together.exit_code, 2);
  EXPECT_EQ(count(together.output, expected), 1) << together.output;
  EXPECT_EQ(count(together.output, "mudelta: error:"), 1) << together.output;
  EXPECT_EQ(count(together.output, "MPI_ABORT"), 0) << together.output;
  EXPECT_THAT(names_in(folder.path()), ElementsAre("run.textproto"));
}

TEST(Program, SetTakesOneAssignmentEachTime) {
  const TemporaryFolder folder;
  const auto config = write_file(folder / "run.textproto", "data { path: 'x' } train { steps: 5 }");
  const Outcome outcome = mudelta("train --set train.steps=1 --set train.steps=-1 " + config.string() + " --out " +
                                  (folder / "run").string());
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.output, "mudelta: error: train.steps is -1: expected at least 1\n");
}

TEST(Program, PrintConfigDescribesEveryFieldAndParsesBack) {
  const TemporaryFolder folder;
  const auto config = write_file(folder / "run.textproto", "model { width: 64 heads: 4 } optimizer { sgd { lr: 2 } }");
  const Outcome printed = mudelta("train " + config.string() + " --print-config");
  EXPECT_EQ(printed.exit_code, 0) << printed.output;
  for (const char* part :
       {"model {\n  # Size of the residual stream.\n  width: 64\n", "\n  vocab_size: 257\n", "\n  head_dim: 12\n",
        "\n  # micro_batch: not set\n", "\n  # - BFLOAT16, BF16: bfloat16 matrices", "\n  compute_dtype: FLOAT32\n",
        "\n  # adamw: not set\n", "\n  sgd {\n"}) {
    EXPECT_EQ(count(printed.output, part), 1) << part << "\n" << printed.output;
  }
  const auto again = write_file(folder / "again.textproto", printed.output);
  EXPECT_EQ(mudelta("train " + again.string() + " --print-config").output, printed.output);
  EXPECT_EQ(mudelta("train " + config.string() + " --print-config=optimizer.sgd.lr").output, "lr: 2\n");
  const Outcome unknown = mudelta("train " + config.string() + " --print-config=model.widht");
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.output, HasSubstr("did you mean `width`?"));
  EXPECT_THAT(mudelta("train " + config.string() + " --print-config=model.").output, HasSubstr("after the last dot"));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("again.textproto", "run.textproto"));
}

TEST(Program, DryRunSaysWhatARunTakesAndWritesNothing) {
  const TemporaryFolder folder;
  const auto config = write_file(folder / "run.textproto", "model { width: 64 heads: 4 } train { global_batch: 6 }");
  const std::string arguments = "train " + config.string() + " --dry-run --out " + (folder / "run").string();
  const Outcome outcome = mudelta(arguments + " --ranks 3");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  for (const char* part :
       {"attn.q_proj.weight ", "\nparameters  ", "\nmemory      on each of 3 data ranks", "\ntime "}) {
    EXPECT_EQ(count(outcome.output, part), 1) << part << "\n" << outcome.output;
  }
  EXPECT_THAT(mudelta(arguments + " --ranks 4").output, HasSubstr("train.global_batch is 6: expected a multiple"));
  EXPECT_EQ(count(mpirun(2, arguments).output, "on each of 2 data ranks"), 1);
  EXPECT_THAT(names_in(folder.path()), ElementsAre("run.textproto"));
  EXPECT_THAT(mudelta("train " + config.string()).output, HasSubstr("--out is required"));
}

TEST(Program, BatchThatTheRanksCannotShareEndsWithTwo) {
  const TemporaryFolder folder;
  const auto config = write_file(folder / "run.textproto", "data { path: 'x' } train { global_batch: 3 }");
  const Outcome outcome = mpirun(2, "train " + config.string() + " --out " + (folder / "run").string());
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(count(outcome.output, "mudelta: error: train.global_batch is 3: expected a multiple of the 2 data ranks"),
            1)
      << outcome.output;
}

TEST(Program, RanksReportAWrongCommandLineOnce) {
  const Outcome outcome = mpirun(2, "trian");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(count(outcome.output, "mudelta: error: `trian` is not a command"), 1) << outcome.output;
}

// Of which the others would wait for ever.
TEST(Program, ARankWithAnotherCommandLineIsReportedOnce) {
  const Outcome outcome = shell(from_environment("MUDELTA_MPIRUN", MUDELTA_MPIRUN) + " 1 " + program_path() +
                                " train run.textproto --out x : -n 1 " + program_path() + " trian run.textproto");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("error: rank 1: the command line on "),
                                    HasSubstr("has the line `trian`, expected `train` as on rank 0")));
}

TEST(Program, WhatOneRankDoesFailsOnce) {
  const TemporaryFolder folder;
  const std::string absent = (folder / "absent").string();
  for (const std::string command : {"generate --prompt x --checkpoint ", "coord-check ", "bench --rule ",
                                    "scale-up --out x --from ", "sweep --report "}) {
    const Outcome outcome = mpirun(2, command + absent);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "MPI_ABORT"), 0) << outcome.output;
  }
}

TEST(Program, PrepareUnderMpirunIsDoneByOneRank) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "one\n\ntwo\n\nthree");
  const std::string arguments =
      "prepare --input " + (folder / "a.txt").string() + " --out " + (folder / "data").string();
  const Outcome prepared = mpirun(2, arguments);
  EXPECT_EQ(prepared.exit_code, 0) << prepared.output;
  EXPECT_EQ(count(prepared.output, "3 documents"), 1);
  const Outcome again = mpirun(2, arguments);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_EQ(count(again.output, "mudelta: error: "), 1) << again.output;
}

TEST(Job, FailureOfOneRankEndsTheOthers) {
  const Outcome error = mpirun(3, "error", MUDELTA_FAILING_JOB);
  EXPECT_EQ(error.exit_code, 2);
  EXPECT_EQ(count(error.output, "mudelta: error: [rank 2] one rank knows\n"), 1) << error.output;
  const Outcome mistake = mpirun(2, "mistake", MUDELTA_FAILING_JOB);
  EXPECT_EQ(mistake.exit_code, 1);
  EXPECT_EQ(count(mistake.output, "mudelta: error: [rank 1] a mistake of ours\n"), 1) << mistake.output;
}

TEST(Job, SharedFailureIsToldOnceAndNothingIsAborted) {
  const Outcome shared = mpirun(3, "shared", MUDELTA_FAILING_JOB);
  EXPECT_EQ(shared.exit_code, 2);
  EXPECT_EQ(count(shared.output, "mudelta: error: all ranks know\n"), 1) << shared.output;
  EXPECT_EQ(count(shared.output, "mudelta: error:"), 1) << shared.output;
  EXPECT_EQ(count(shared.output, "MPI_ABORT"), 0) << shared.output;
}

TEST(Job, AFailureOfEachRankIsToldOnceAndNothingIsAborted) {
  const Outcome alike = mpirun(3, "alike", MUDELTA_FAILING_JOB);
  EXPECT_EQ(alike.exit_code, 1);
  EXPECT_EQ(count(alike.output, "mudelta: error: std::bad_alloc\n"), 1) << alike.output;
  const Outcome each = mpirun(3, "each", MUDELTA_FAILING_JOB);
  EXPECT_EQ(each.exit_code, 2);
  EXPECT_EQ(count(each.output, "mudelta: error: rank 0: rank 0 knows\n"), 1) << each.output;
  for (const Outcome* outcome : {&alike, &each}) {
    EXPECT_EQ(count(outcome->output, "mudelta: error:"), 1) << outcome->output;
    EXPECT_EQ(count(outcome->output, "MPI_ABORT"), 0) << outcome->output;
  }
}

TEST(Job, AFirstRankThatStopsInItsWorkIsNoticed) {
  const Outcome stopped = mpirun(2, "stopped", MUDELTA_FAILING_JOB);
  EXPECT_NE(stopped.exit_code, 0);
  EXPECT_EQ(count(stopped.output, "mudelta: error: [rank 1 on "), 1) << stopped.output;
  EXPECT_EQ(count(stopped.output, "has waited 3 s for other ranks"), 1) << stopped.output;
}

TEST(Job, AFirstRankMayWorkForLong) {
  const Outcome outcome = mpirun(2, "long", MUDELTA_FAILING_JOB);
  EXPECT_EQ(outcome.exit_code, 5) << outcome.output;
}

TEST(Job, RanksWaitForOthersForALimitedTime) {
  const Outcome outcome = mpirun(2, "limit", MUDELTA_FAILING_JOB);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "the limit is 600 s\n"), 2) << outcome.output;
}

TEST(Job, OneRankAloneReturnsItsExitCode) {
  const Outcome error = shell(MUDELTA_FAILING_JOB " error");
  EXPECT_EQ(error.exit_code, 2);
  EXPECT_EQ(error.output, "mudelta: error: one rank knows\n");
  EXPECT_EQ(shell(MUDELTA_FAILING_JOB " mistake").exit_code, 1);
}

}  // namespace
}  // namespace mudelta::testing
