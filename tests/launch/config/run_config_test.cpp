#include "launch/config/run_config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>

#include <string>
#include <vector>

#include "launch/config/config_text.h"
#include "launch/config/name_hints.h"
#include "launch/transfer/sweep/sweep.pb.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_file;

RunConfig parsed(const std::string& text) {
  RunConfig config;
  parse_text(text, "run.textproto", config);
  return config;
}

std::string parse_error(const std::string& text) {
  return error_of([&] { parsed(text); });
}

RunConfig overridden(const std::vector<std::string>& assignments, const std::string& text = "") {
  RunConfig config = parsed(text);
  apply_overrides(assignments, config);
  return config;
}

std::string override_error(const std::string& assignment) {
  return error_of([&] { overridden({assignment}); });
}

TEST(ConfigText, MisspeltFieldIsPointedAtWithTheNearestName) {
  EXPECT_EQ(parse_error("model {\n  widht: 256\n}\n"),
            "run.textproto:2:3: `model` has no field `widht`; did you mean `width`?");
  EXPECT_EQ(parse_error("train { steps: 3 }\nmodle { width: 256 }\n"),
            "run.textproto:2:1: RunConfig has no field `modle`; did you mean `model`?");
  EXPECT_EQ(parse_error("optimizer { adamw { lr: 1e-3 betta1: 0.9 } }"),
            "run.textproto:1:30: `optimizer.adamw` has no field `betta1`; did you mean `beta1`?");
}

TEST(ConfigText, MisspeltFieldInTheSecondEntryOfAListIsPointedAt) {
  EXPECT_EQ(parse_error("parametrization {\n scaling { role: GATE }\n scaling { rule: CONV }\n}"),
            "run.textproto:3:12: `parametrization.scaling` has no field `rule`; did you mean `role`?");
}

TEST(ConfigText, FieldOfAnotherMessageIsPointedOut) {
  EXPECT_EQ(parse_error("model { steps: 100 }"),
            "run.textproto:1:9: `model` has no field `steps`; did you mean `train.steps`?");
}

TEST(ConfigText, FieldLikeNoOtherGetsTheListOfFields) {
  EXPECT_EQ(parse_error("checkpoint { zzzzzzzz: 1 }"),
            "run.textproto:1:14: `checkpoint` has no field `zzzzzzzz`; its fields are every_steps, every_minutes, "
            "keep, keep_every, "
            "asynchronous, on_save_failure");
}

TEST(ConfigText, WrongTypeIsPointedAt) {
  EXPECT_THAT(parse_error("train {\n  steps: \"many\"\n}"), HasSubstr("run.textproto:2:10: Expected integer"));
  EXPECT_THAT(parse_error("train { steps: 1.5 }"), HasSubstr("run.textproto:1:16: Expected integer"));
  EXPECT_THAT(parse_error("model: 3"), HasSubstr("run.textproto:1:"));
}

TEST(ConfigText, UnknownEnumValueIsPointedAtWithThoseThatExist) {
  EXPECT_EQ(
      parse_error("train {\n  compute_dtype: FLOAT23\n}"),
      "run.textproto:2:18: `train.compute_dtype` cannot be `FLOAT23`: expected one of FLOAT32, FP32, BFLOAT16, BF16");
  // `kind` is a field of two messages: the one around it counts.
  EXPECT_EQ(parse_error("schedule { kind: COSINE }\nparametrization { kind: COSINE }"),
            "run.textproto:2:25: `parametrization.kind` cannot be `COSINE`: expected one of SP, MUP, GDN_MUP");
}

TEST(ConfigText, EnumValuesMayBeWrittenInAnyCaseAndShort) {
  const RunConfig config = parsed(
      "train {\n\tcompute_dtype: bf16 device: Cpu }\nschedule { kind: cosine }\n"
      "parametrization { kind: sp scaling { role: gate } scaling { role: Conv } }");
  EXPECT_EQ(config.train().compute_dtype(), TrainConfig::BFLOAT16);
  EXPECT_EQ(config.train().device(), TrainConfig::CPU);
  EXPECT_EQ(config.schedule().kind(), ScheduleConfig::COSINE);
  EXPECT_EQ(config.parametrization().kind(), ParametrizationConfig::SP);
  EXPECT_EQ(config.parametrization().scaling(0).role(), ScalingOverride::GATE);
  EXPECT_EQ(config.parametrization().scaling(1).role(), ScalingOverride::CONV);
  // What is written back has the one name, and errors further on keep their place.
  EXPECT_THAT(resolved_text(config), HasSubstr("compute_dtype: BFLOAT16"));
  EXPECT_EQ(parse_error("train { compute_dtype: bf16 setps: 3 }"),
            "run.textproto:1:29: `train` has no field `setps`; did you mean `steps`?");
  EXPECT_EQ(overridden({"train.compute_dtype=fp32", "optimizer.eps_rule=Width_Scaled"}).optimizer().eps_rule(),
            OptimizerConfig::WIDTH_SCALED);
}

TEST(ConfigText, OtherFilesAreNotConfigurations) {
  EXPECT_EQ(
      parse_error(std::string("\x7f"
                              "ELF\x02\x01",
                              6)),
      "run.textproto: expected a configuration in protobuf text format, got a file that is no text: its byte 0 is "
      "0x7f");
  EXPECT_THAT(parse_error(std::string("model {\0}", 9)), HasSubstr("its byte 7 is 0x00"));
  EXPECT_EQ(parse_error("caf\xc3\xa9 au lait"),
            "run.textproto:1:4: expected a field's name or its value, got a letter that only quotes and comments may "
            "hold");
  EXPECT_EQ(parsed("# caf\xc3\xa9\ndata { path: \"caf\xc3\xa9\" }").data().path(), "caf\xc3\xa9");
}

TEST(ConfigText, SyntaxErrorsAndRepeatedFieldsAreErrors) {
  EXPECT_THAT(parse_error("train { steps: 3"), HasSubstr("run.textproto:1:"));
  EXPECT_THAT(parse_error("train { steps: 3 } }"), HasSubstr("run.textproto:1:20: "));
  EXPECT_THAT(parse_error("train { steps: 3 steps: 4 }"), HasSubstr("steps"));
  EXPECT_THAT(parse_error("optimizer { adamw {} sgd {} }"), HasSubstr("another member of oneof"));
}

TEST(ConfigText, LongNamesAndDeepNestingAreErrorsLikeOthers) {
  const std::string name(50'000, 'x');
  EXPECT_EQ(parse_error("train { " + name + ": 1 }").substr(0, 60),
            "run.textproto:1:9: `train` has no field `" + std::string(19, 'x'));
  EXPECT_LT(parse_error(name + ": 1").size(), 1000u);
  EXPECT_LT(parse_error("train { compute_dtype: " + name + " }").size(), 1000u);
  EXPECT_LT(parse_error("train { steps: " + name + " }").size(), 1000u);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "model { ";
  EXPECT_THAT(parse_error(deep), HasSubstr("`model` has no field `model`"));
}

TEST(ConfigText, KnownFieldsAreFoundAmongUnknownOnes) {
  TrainConfig config;
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "new { ";
  parse_known_fields("steps: 7 new_field { a: [1, 2] b: VALUE } seed: 3 " + deep, config);
  EXPECT_EQ(config.steps(), 7);
  EXPECT_EQ(config.seed(), 3u);
}

TEST(ConfigText, CommentsAndAnEmptyTextAreFine) {
  EXPECT_EQ(parsed("# nothing\n").train().steps(), 1000);
  EXPECT_EQ(parsed("train { steps: 7 # seven }\n}").train().steps(), 7);
}

TEST(Override, SetsEveryKindOfField) {
  const RunConfig config = overridden({"model.width=512", "train.seed=18446744073709551615", "optimizer.adamw.lr=1e-2",
                                       "data.shuffle=false", "train.compute_dtype=BFLOAT16", "data.path=some where/a=b",
                                       "parallel.tensor=2", "model.norm_eps=-0.5"});
  EXPECT_EQ(config.model().width(), 512);
  EXPECT_EQ(config.train().seed(), 18446744073709551615u);
  EXPECT_EQ(config.optimizer().adamw().lr(), 1e-2);
  EXPECT_FALSE(config.data().shuffle());
  EXPECT_EQ(config.train().compute_dtype(), TrainConfig::BFLOAT16);
  EXPECT_EQ(config.data().path(), "some where/a=b");
  EXPECT_EQ(config.parallel().tensor(), 2);
  EXPECT_EQ(config.model().norm_eps(), -0.5);
  EXPECT_EQ(overridden({"data.path=\"quoted\""}).data().path(), "quoted");
  EXPECT_EQ(overridden({"data.path="}, "data { path: \"x\" }").data().path(), "");
}

TEST(Override, LaterOnesWinAndOtherFieldsStay) {
  const RunConfig config = overridden({"train.steps=5", "train.steps=6"}, "train { steps: 1 global_batch: 3 }");
  EXPECT_EQ(config.train().steps(), 6);
  EXPECT_EQ(config.train().global_batch(), 3);
}

TEST(Override, ListsBecomeWhatIsGivenForThem) {
  const RunConfig config =
      overridden({"parametrization.scaling={role: GATE lr_width: -0.5}", "parametrization.scaling={role: NORM}"},
                 "parametrization { scaling { role: CONV } }");
  ASSERT_EQ(config.parametrization().scaling_size(), 2);
  EXPECT_EQ(config.parametrization().scaling(0).role(), ScalingOverride::GATE);
  EXPECT_EQ(config.parametrization().scaling(0).lr_width(), -0.5);
  EXPECT_EQ(config.parametrization().scaling(1).role(), ScalingOverride::NORM);
}

TEST(Override, ListsAreSpeltInSeveralWays) {
  const auto widths = [](const std::vector<std::string>& assignments) {
    SweepConfig sweep;
    parse_text("widths: [1, 2, 3] parametrizations: [SP]", "sweep.textproto", sweep);
    apply_overrides(assignments, sweep);
    return std::vector<std::int64_t>(sweep.widths().begin(), sweep.widths().end());
  };
  const std::vector<std::int64_t> expected = {64, 128};
  EXPECT_EQ(widths({"widths=64,128"}), expected);
  EXPECT_EQ(widths({"widths=[64, 128]"}), expected);
  EXPECT_EQ(widths({"widths=64 128"}), expected);
  EXPECT_EQ(widths({"widths=64", "widths=128"}), expected);
  EXPECT_EQ(widths({"widths=[]"}), std::vector<std::int64_t>());
  EXPECT_EQ(error_of([&] { widths({"widths=64,wide"}); }),
            "--set widths=64,wide: `widths` cannot be `wide`: expected a whole number");
  EXPECT_EQ(widths({"parametrizations=sp,Gdn_Mup"}), (std::vector<std::int64_t>{1, 2, 3}));
}

TEST(Override, SettingInsideAOneofSwitchesIt) {
  const std::string adamw = "optimizer { adamw { lr: 3 } eps_rule: WIDTH_SCALED }";
  const RunConfig config = overridden({"optimizer.sgd.lr=0.5"}, adamw);
  EXPECT_FALSE(config.optimizer().has_adamw());
  EXPECT_EQ(config.optimizer().sgd().lr(), 0.5);
  EXPECT_EQ(config.optimizer().eps_rule(), OptimizerConfig::WIDTH_SCALED);
  EXPECT_TRUE(overridden({"optimizer.sgd={}"}, adamw).optimizer().has_sgd());
  EXPECT_FALSE(overridden({"schedule.final_lr=1"}, "schedule { final_ratio: 1 }").schedule().has_final_ratio());
}

TEST(Override, MessagesAreMerged) {
  const RunConfig config = overridden({"model={width: 64}"}, "model { layers: 3 }");
  EXPECT_EQ(config.model().width(), 64);
  EXPECT_EQ(config.model().layers(), 3);
}

TEST(Override, UnknownPathsAreErrorsWithAHint) {
  EXPECT_EQ(override_error("model.widht=3"),
            "--set model.widht=3: `model` has no field `widht`; did you mean `width`?");
  EXPECT_EQ(override_error("modell.width=3"),
            "--set modell.width=3: RunConfig has no field `modell`; did you mean `model`?");
  EXPECT_EQ(
      override_error("optimizer.lr=3"),
      "--set optimizer.lr=3: `optimizer` has no field `lr`; did you mean `optimizer.adamw.lr` or `optimizer.sgd.lr` "
      "or `optimizer.muon.lr` or `optimizer.muon.adamw.lr`?");
  EXPECT_THAT(override_error("train.steps.x=3"), HasSubstr("`train.steps` is a single value"));
  EXPECT_THAT(override_error("parametrization.scaling.role=GATE"), HasSubstr("is a list"));
}

TEST(Override, WrongValuesAreErrorsThatSayWhatWasExpected) {
  EXPECT_EQ(override_error("train.steps=1.5"),
            "--set train.steps=1.5: `train.steps` cannot be `1.5`: expected a whole number");
  EXPECT_THAT(override_error("train.steps=5 6"), HasSubstr("expected a whole number"));
  EXPECT_THAT(override_error("train.seed=-1"), HasSubstr("expected a whole number, not negative"));
  EXPECT_THAT(override_error("train.steps="), HasSubstr("expected a whole number"));
  EXPECT_THAT(override_error("data.shuffle=perhaps"), HasSubstr("expected true or false"));
  EXPECT_THAT(override_error("optimizer.adamw.lr=fast"), HasSubstr("expected a number"));
  EXPECT_THAT(override_error("train.compute_dtype=float16"), HasSubstr("expected one of FLOAT32, FP32, BFLOAT16"));
  EXPECT_THAT(override_error("model=3"), HasSubstr("`model` holds fields"));
  EXPECT_THAT(override_error("parametrization.scaling={role: GATES}"),
              HasSubstr("parametrization.scaling:1:8: `role` cannot be `GATES`: expected one of EMBEDDING"));
  EXPECT_THAT(override_error("parametrization.scaling={lr_wdith: 1}"), HasSubstr("did you mean `lr_width`?"));
}

TEST(Override, LongPathsAndValuesAreErrorsLikeOthers) {
  std::string path;
  for (int i = 0; i < 50'000; ++i) path += "a.";
  EXPECT_THAT(override_error(path + "b=1"), HasSubstr("RunConfig has no field `a`"));
  EXPECT_LT(override_error(path + "b=1").size(), 1000u);
  EXPECT_LT(override_error("train.compute_dtype=" + path).size(), 1000u);
  EXPECT_LT(override_error("train.steps=" + path).size(), 1000u);
  EXPECT_THAT(override_error("model..width=3"), HasSubstr("`model` has no field ``"));
}

TEST(Override, NotAnAssignmentIsAnError) {
  EXPECT_EQ(override_error("model.width"), "--set model.width: expected FIELD=VALUE, as in model.width=512");
  EXPECT_THAT(override_error("=3"), HasSubstr("expected FIELD=VALUE"));
  EXPECT_THAT(override_error(".width=3"), HasSubstr("RunConfig has no field `width`; did you mean `model.width`?"));
}

TEST(LoadRunConfig, ReadsTheFileAndAppliesOverrides) {
  const TemporaryFolder folder;
  const auto path = write_file(folder / "run.textproto", "model { width: 64 }");
  const RunConfig config = load_run_config(path, {"model.layers=2", "model.layers=3"});
  EXPECT_EQ(config.model().width(), 64);
  EXPECT_EQ(config.model().layers(), 3);
}

TEST(LoadRunConfig, NamesTheFileInItsErrors) {
  const TemporaryFolder folder;
  const auto path = write_file(folder / "run.textproto", "\n\n  model { width: x }");
  EXPECT_THAT(error_of([&] { load_run_config(path, {}); }), HasSubstr(path.string() + ":3:"));
  EXPECT_THAT(error_of([&] { load_run_config(folder / "absent", {}); }), HasSubstr((folder / "absent").string()));
  const auto incomplete = write_file(folder / "incomplete", "parametrization { scaling { lr_width: 1 } }");
  EXPECT_THAT(error_of([&] { load_run_config(incomplete, {}); }), HasSubstr("parametrization.scaling[0].role"));
}

TEST(ResolvedText, RoundTripsAndWritesEveryDefault) {
  const RunConfig config = parsed(
      "model { width: 100 norm_eps: 0.1234567890123456789 } optimizer { sgd { lr: 0.7 } }"
      "parametrization { scaling { role: NORM lr_width: 0.333333333333333333 } } data { path: \"a \\\"b\\n\" }");
  const std::string text = resolved_text(config);
  const RunConfig read_back = parsed(text);
  EXPECT_TRUE(MessageDifferencer::Equals(read_back, with_defaults(config)));
  EXPECT_EQ(resolved_text(read_back), text);
  // Without regard to which fields are explicit, it still is the same configuration.
  EXPECT_TRUE(MessageDifferencer::Equivalent(read_back.model(), config.model()));
  EXPECT_EQ(read_back.model().norm_eps(), config.model().norm_eps());
  EXPECT_EQ(read_back.data().path(), "a \"b\n");
  EXPECT_TRUE(read_back.train().has_steps());
  EXPECT_TRUE(read_back.optimizer().sgd().has_momentum());
  EXPECT_TRUE(read_back.parametrization().scaling(0).has_optimizer());
}

TEST(ResolvedText, LeavesUnsetWhatHasNoDefault) {
  const RunConfig config = with_defaults(parsed("optimizer { sgd {} } schedule { final_lr: 1 }"));
  EXPECT_FALSE(config.model().has_head_dim());
  EXPECT_FALSE(config.train().has_micro_batch());
  EXPECT_FALSE(config.parametrization().has_base_width());
  EXPECT_FALSE(config.optimizer().has_adamw());
  EXPECT_FALSE(config.schedule().has_final_ratio());
}

TEST(ResolvedText, ChoicesLeftOpenBecomeTheDocumentedOnes) {
  const RunConfig config = with_defaults(RunConfig());
  EXPECT_EQ(config.optimizer().adamw().lr(), 4e-3);
  EXPECT_TRUE(config.optimizer().adamw().has_lr());
  EXPECT_EQ(config.schedule().final_ratio(), 0.1);
}

TEST(NameHints, DistanceCountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("width", "widht"), 1);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(NameHints, FarNamesAreNoHint) {
  EXPECT_EQ(nearest_name("layer", {"width", "layers"}), "layers");
  EXPECT_EQ(nearest_name("xyz", {"width", "layers"}), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

}  // namespace
}  // namespace mudelta
