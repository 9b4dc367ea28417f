#include "launch/interop/model_export.h"

#include <gmock/gmock.h>

#include <limits>

#include "launch/checkpoint/manifest.h"
#include "launch/interop/probe.h"
#include "launch/train/loaded_model.h"
#include "launch/train/scaling.h"
#include "model/config.h"
#include "tests/launch/interop/support.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kOneFile = 1 << 30;
const std::string kExact = "model { o_norm_eps: 2.5e-5 }";  // norm_eps x head_dim^2

class ModelExport : public ::testing::Test {
 protected:
  // A checkpoint of a small run, and its export.
  std::string run(const std::string& changes, ExportRequest request) {
    const std::filesystem::path folder = root_ / ("checkpoint" + std::to_string(checkpoints_++));
    std::filesystem::create_directory(folder);
    write_checkpoint_of(MemoryWeights(small_run(changes)), kOneFile, folder);
    request.weights = folder;
    return export_again(std::move(request));
  }
  std::string export_again(ExportRequest request) {
    if (request.out.empty()) request.out = root_ / "out";
    if (request.file_bytes == 0) request.file_bytes = kOneFile;
    return export_model(request);
  }
  std::string import(const std::vector<std::string>& overrides = {}) {
    return import_model({.from = root_ / "out", .out = root_ / "imported", .overrides = overrides, .force = true});
  }

  TemporaryFolder root_;
  int checkpoints_ = 0;
};

TEST_F(ModelExport, OwnFormatIsACheckpointBitForBit) {
  const std::string changes = "parametrization { base_width: 4 base_head_dim: 5 base_mlp_size: 5 } train { steps: 9 }";
  run(changes, {.format = "mudelta", .file_bytes = 2000});
  const MemoryWeights expected(small_run(changes));
  const CheckpointWeights found(root_ / "out");
  expect_same(expected, found, [](const ParameterSpec&) { return false; });
  EXPECT_EQ(found.forward_multipliers(), expected.forward_multipliers());
  EXPECT_EQ(found.config().train().steps(), 9);
  EXPECT_EQ(found.state().step(), 7);
  const CheckpointManifest manifest = read_manifest(root_ / "out");
  EXPECT_GT(manifest.files_size(), 2);
  EXPECT_EQ(manifest.parameters(0).lr_multiplier(), make_parametrization(expected.config()).scaling()[0].lr);
  EXPECT_EQ(LoadedModel(root_ / "out").config().model().width(), 12);
  EXPECT_THAT(error_of([&] { import(); }), HasSubstr("is a checkpoint already"));
  EXPECT_THAT(error_of([&] { run("", {.format = "mudelta", .dtype = DType::kBFloat16, .force = true}); }),
              HasSubstr("--dtype is bfloat16: a checkpoint, the format mudelta, has float32"));
}

TEST_F(ModelExport, ProbeSaysWhatTheReaderComputes) {
  const std::string exact = run(kExact, {.format = "fla", .probe_tokens = 40});
  EXPECT_THAT(exact, AllOf(HasSubstr("largest difference of a logit 0, of logits up to"), Not(HasSubstr("not exact"))));

  const std::string rounded =
      run(kExact, {.format = "fla", .dtype = DType::kBFloat16, .probe_tokens = 40, .force = true});
  EXPECT_THAT(rounded, AllOf(HasSubstr("in bfloat16"), Not(HasSubstr("a logit 0,"))));

  // The figure is that of the same weights with the eps that the reader has.
  const std::string other = run("model { o_norm_eps: 0.1 }", {.format = "qwen3_5", .probe_tokens = 40, .force = true});
  const MemoryWeights weights(small_run("model { o_norm_eps: 0.1 }"));
  const Tensor ours = probe_logits(weights, 0.1, DType::kFloat32, 40, "");
  const double difference = largest_difference(ours, probe_logits(weights, 2.5e-5, DType::kFloat32, 40, ""));
  EXPECT_GT(difference, 0.01);
  EXPECT_THAT(other, AllOf(HasSubstr(fmt::format("largest difference of a logit {:.2g}, ", difference)),
                           HasSubstr("one eps for all norms, 1e-06"),
                           HasSubstr("layer.linear_attn.norm.variance_epsilon = 0.004\n")));
  EXPECT_THAT(run("model { o_norm_eps: 0.1 }", {.format = "fla", .force = true}),
              AllOf(HasSubstr("layer.attn.o_norm.eps = 0.004\n"), Not(HasSubstr("probe"))));
}

TEST_F(ModelExport, WhatAFormatCannotHoldIsRefusedAndNothingWritten) {
  EXPECT_THAT(error_of([&] { run("model { allow_neg_eigval: true }", {.format = "qwen3_5"}); }),
              HasSubstr("model.allow_neg_eigval is true: qwen3_5 has no such models"));
  EXPECT_THAT(error_of([&] { run("model { head_dim: 260 expand_v: 1 }", {.format = "fla"}); }),
              HasSubstr("model.head_dim is 260: fla's kernels have at most 256"));
  EXPECT_THAT(error_of([&] { run("", {.format = "gguf"}); }), HasSubstr("the format gguf is not known"));

  MemoryWeights broken(small_run());
  broken.small.store.find("model.layers.1.attn.A_log").value.span<float>()[1] = std::numeric_limits<float>::quiet_NaN();
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { write_checkpoint_of(broken, kOneFile, folder.path()); }),
              HasSubstr("element 1 of model.layers.1.attn.A_log is nan, expected finite weights"));
  EXPECT_THAT(names_in(root_.path()), ElementsAre("checkpoint0", "checkpoint1", "checkpoint2"));

  run("", {.format = "fla"});
  std::filesystem::resize_file(root_ / "out/model.safetensors", 3000);
  EXPECT_THAT(error_of([&] { import(); }), HasSubstr("out/model.safetensors"));
  EXPECT_THAT(names_in(root_.path()), ElementsAre("checkpoint0", "checkpoint1", "checkpoint2", "checkpoint3", "out"));
}

TEST_F(ModelExport, ImportsAreCheckpointsOfTheSameModel) {
  const std::string changes =
      "parametrization { base_width: 6 base_head_dim: 5 base_mlp_size: 5 base_layers: 1 depth_exponent: 1 } "
      "data { tokenizer: 'byte' } model { vocab_size: 257 }";
  const MemoryWeights expected(small_run(changes));
  ASSERT_EQ(expected.forward_multipliers(), (ForwardMultipliers{.logits = 0.5, .residual = 0.5}));
  const auto logits = [](const WeightSource& of) { return probe_logits(of, 4e-3, DType::kFloat32, 40, ""); };
  const auto expect_logits = [&](const WeightSource& of) {
    EXPECT_LT(largest_difference(logits(of), logits(expected)), 1e-5);
  };
  for (const std::string format : {"fla", "qwen3_5"}) {
    SCOPED_TRACE(format);
    EXPECT_THAT(run(changes, {.format = format, .force = true}),
                AllOf(HasSubstr("folded         the logit multiplier, 0.5, into the gain"),
                      HasSubstr("folded         the residual multiplier, 0.5, into the last matrices")));
    EXPECT_THAT(import(), AllOf(HasSubstr("multipliers    SP"), HasSubstr("tokenizer      byte")));
    const CheckpointWeights plain(root_ / "imported");
    EXPECT_EQ(plain.forward_multipliers(), ForwardMultipliers());
    EXPECT_EQ(plain.config().parametrization().kind(), ParametrizationConfig::SP);
    EXPECT_EQ(o_norm_eps(plain.config().model()), 4e-3);
    expect_logits(plain);

    // With its base declared, the model has its multipliers again, and the gain of its final norm.
    EXPECT_THAT(
        import({"parametrization={base_width: 6 base_head_dim: 5 base_mlp_size: 5 base_layers: 1 depth_exponent: 1}",
                "train.sequence_length=99"}),
        AllOf(HasSubstr("GDN_MUP: the logit multiplier is 0.5"), HasSubstr("; the residual multiplier is 0.5")));
    const CheckpointWeights declared(root_ / "imported");
    EXPECT_EQ(declared.forward_multipliers(), expected.forward_multipliers());
    EXPECT_EQ(declared.config().train().sequence_length(), 99);
    EXPECT_EQ(LoadedModel(root_ / "imported").config().data().tokenizer(), "byte");
    expect_logits(declared);
    if (format == "fla") expect_same(expected, declared, [](const ParameterSpec&) { return false; });
  }
}

TEST_F(ModelExport, ImportsAreConfiguredWithinTheModel) {
  run("", {.format = "fla"});
  import({"model.o_norm_eps=1e-4"});
  EXPECT_EQ(o_norm_eps(CheckpointWeights(root_ / "imported").config().model()), 1e-4);
  EXPECT_THAT(error_of([&] { import({"model.width=16"}); }), HasSubstr("model.width: 12 -> 16"));
  EXPECT_THAT(error_of([&] { import({"data.tokenizer=byte"}); }),
              HasSubstr("the vocabulary has 11 ids, expected the 257 of the tokenizer byte at least"));
  EXPECT_THAT(error_of([&] { import({"parametrization.base_width=0"}); }),
              HasSubstr("parametrization.base_width is 0"));
  EXPECT_THAT(import(), HasSubstr("none is known"));
}

}  // namespace
}  // namespace mudelta::testing
