#include "launch/transfer/coord_check/coord_check.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/rng.h"
#include "launch/transfer/coord_check/coord_check_job.h"
#include "launch/transfer/coord_check/coord_check_report.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::Contains;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using Points = std::vector<std::pair<double, double>>;

Points power_law(double slope, double noise, int seeds, std::uint64_t seed = 1) {
  const CounterRng rng(seed, "noise");
  Points points;
  for (const double x : {64, 128, 256, 512}) {
    for (int i = 0; i < seeds; ++i) {
      points.emplace_back(x, 3 * std::pow(x, slope) * std::exp(noise * rng.normal(points.size())));
    }
  }
  return points;
}

TEST(PowerLawFit, FindsAnExactSlope) {
  for (const double slope : {-1.0, -0.5, 0.0, 0.3, 2.0}) {
    const PowerLaw law = fit_power_law(power_law(slope, 0, 1));
    EXPECT_NEAR(law.slope, slope, 1e-12);
    EXPECT_NEAR(law.uncertainty, 0, 1e-7);
  }
}

// The standard error is that of the textbook, noise / sqrt(sum of squared distances in log x), and the slope is within
// two of them of the truth 19 times out of 20.
TEST(PowerLawFit, UncertaintyIsThatOfTheNoise) {
  const double expected = 0.1 / (std::log(2.0) * std::sqrt(5.0 * 3));
  int within = 0;
  double mean = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const PowerLaw law = fit_power_law(power_law(0.25, 0.1, 3, seed));
    mean += law.uncertainty / 400;
    within += std::abs(law.slope - 0.25) <= 2 * law.uncertainty ? 1 : 0;
  }
  EXPECT_NEAR(mean, expected, 0.05 * expected);
  EXPECT_NEAR(within / 400.0, 0.93, 0.04);
}

TEST(PowerLawFit, HasNoSlopeWhereAValueIsZeroOrNotFinite) {
  for (const double bad : {0.0, double{NAN}, double{INFINITY}}) {
    Points points = power_law(0, 0, 1);
    points[2].second = bad;
    EXPECT_TRUE(std::isnan(fit_power_law(points).slope)) << bad;
  }
  EXPECT_THAT(error_of([] { fit_power_law(Points{{1, 1}, {2, 2}}); }), HasSubstr("needs 3 points"));
}

// One quantity whose RMS is width^slope, judged on `axis`.
bool passes(CoordKind kind, const std::string& quantity, double slope, GrowthAxis axis, double depth_exponent = 1) {
  std::vector<CoordRecord> records;
  for (const std::int64_t width : {16, 32, 64}) {
    for (const std::int64_t step : {0, 5, 10}) {
      // Only step 10 counts, and only step 0 for values.
      const bool counts = step == (kind == CoordKind::kValue ? 0 : 10);
      const double rms = counts ? std::pow(static_cast<double>(width), slope) : static_cast<double>(width);
      records.push_back({axis, ParametrizationConfig::GDN_MUP, width, 1, {kind, quantity, step, rms}});
    }
  }
  const auto verdicts = judge(records, 10, axis, depth_exponent);
  EXPECT_EQ(verdicts.size(), 1u);
  return verdicts[0].passed.value();
}

TEST(Verdict, AllowsAFifthOnEitherSide) {
  for (const CoordKind kind : {CoordKind::kValue, CoordKind::kChange, CoordKind::kOwn}) {
    for (const GrowthAxis axis : {GrowthAxis::kHeadDim, GrowthAxis::kHeads, GrowthAxis::kDepth}) {
      EXPECT_TRUE(passes(kind, "q", 0.19, axis));
      EXPECT_TRUE(passes(kind, "q", -0.19, axis));
      EXPECT_FALSE(passes(kind, "q", 0.21, axis));
      EXPECT_FALSE(passes(kind, "q", -0.21, axis));
      EXPECT_FALSE(passes(kind, "q", NAN, axis));
    }
  }
}

TEST(Verdict, AllowsIncoherentSumsWhereTheyAreExpected) {
  using enum CoordKind;
  using enum GrowthAxis;
  EXPECT_TRUE(passes(kValue, "logits", -0.5, kHeads));
  EXPECT_FALSE(passes(kChange, "logits", -0.5, kHeads));
  EXPECT_FALSE(passes(kValue, "logits", 0.5, kHeads));
  EXPECT_TRUE(passes(kChange, "state", -0.5, kHeadDim));
  EXPECT_FALSE(passes(kChange, "state", -0.5, kHeads));
  EXPECT_TRUE(passes(kChange, "o", 0.5, kHeadDim));
  EXPECT_FALSE(passes(kChange, "o", 0.5, kHeads));
  EXPECT_FALSE(passes(kChange, "o", -0.5, kHeadDim));
}

TEST(Verdict, AllowsOverDepthWhatTheExponentSays) {
  using enum CoordKind;
  using enum GrowthAxis;
  EXPECT_TRUE(passes(kValue, "residual", -0.5, kDepth));
  EXPECT_FALSE(passes(kValue, "residual", -0.5, kDepth, 0.5));
  EXPECT_FALSE(passes(kValue, "residual", 0.5, kDepth));
  EXPECT_FALSE(passes(kValue, "mixer", -0.5, kDepth));
  EXPECT_TRUE(passes(kOwn, "W_q", -0.5, kDepth, 0.5));
  EXPECT_FALSE(passes(kOwn, "W_q", 0, kDepth, 0.5));
  EXPECT_TRUE(passes(kOwn, "readout", 0, kDepth, 0.5));
  EXPECT_TRUE(passes(kOwn, "norm", -0.5, kDepth));
  EXPECT_FALSE(passes(kOwn, "readout", -0.5, kDepth, 0.5));
  EXPECT_TRUE(passes(kChange, "q", -0.5, kDepth, 0.5));
  EXPECT_TRUE(passes(kChange, "residual", -0.5, kDepth));
  EXPECT_FALSE(passes(kChange, "residual", -0.5, kDepth, 0.5));
  EXPECT_FALSE(passes(kChange, "logits", -0.5, kDepth, 0.5));
}

template <class F>
auto quietly(F&& body) {
  struct Capture {
    Capture() { ::testing::internal::CaptureStdout(); }
    ~Capture() { ::testing::internal::GetCapturedStdout(); }
  } capture;
  return body();
}

// Whole checks of a tiny model.
class CoordCheckRun : public ::testing::Test {
 protected:
  struct Result {
    int exit_code;
    std::vector<std::string> failed;  // rows of the table
  };

  // `more`: text of the configuration.
  Result check(const std::string& more, std::vector<GrowthAxis> axes = {GrowthAxis::kHeads}) {
    CoordCheckRequest request = request_;
    request.axes = std::move(axes);
    request.config = testing::write_file(folder_ / "run.textproto", R"(
        # Values large enough that o_norm_eps does not show: what is below its root keeps o's growth with head_dim.
        model { width: 32 layers: 1 heads: 4 head_dim: 8 conv_init_std: 0.5 }
        train { global_batch: 4 sequence_length: 64 }
        schedule { kind: CONSTANT warmup_steps: 2 } )" + more);
    Result result{quietly([&] { return run_coord_check(request); }), {}};
    std::istringstream table(testing::read_file(request.out / "coord-check.txt"));
    for (std::string line; std::getline(table, line);) {
      if (line.find("FAIL") == std::string::npos || line[0] == ' ') continue;
      result.failed.push_back(line.substr(0, line.find_last_not_of(' ', 23) + 1));
    }
    return result;
  }

  testing::TemporaryFolder folder_;
  CoordCheckRequest request_{.config = {},
                             .overrides = {},
                             .data = {},
                             .out = folder_ / "out",
                             .force = true,
                             .widths = {32, 64, 128},
                             .layers = {2, 4, 8, 16},
                             .steps = {1, 5},
                             .axes = {},
                             .parametrizations = {ParametrizationConfig::GDN_MUP},
                             .optimizer = {},
                             .seeds = 3};
};

constexpr const char* kAdamW = "optimizer { adamw { lr: 4e-3 } } ";
constexpr const char* kSgd = "optimizer { sgd { lr: 0.02 momentum: 0.9 } } ";

TEST_F(CoordCheckRun, GdnMupPassesAndSpFails) {
  request_.overrides = {"model.layers=2"};
  const Result gdn_mup = check(kAdamW, {GrowthAxis::kHeads, GrowthAxis::kHeadDim});
  EXPECT_EQ(gdn_mup.exit_code, 0);
  EXPECT_THAT(gdn_mup.failed, IsEmpty());
  request_.parametrizations = {ParametrizationConfig::SP};
  EXPECT_EQ(check(kAdamW).exit_code, 1);
  // Beside GDN_MUP it is there to be compared.
  request_.parametrizations = {ParametrizationConfig::SP, ParametrizationConfig::GDN_MUP};
  EXPECT_EQ(check(kAdamW).exit_code, 0);
  for (const char* name : {"jsonl", "txt"}) {
    EXPECT_TRUE(std::filesystem::exists(request_.out / (std::string("coord-check.") + name)));
  }
  EXPECT_TRUE(std::filesystem::exists(request_.out / "coord-check-heads-SP.gnuplot"));
}

TEST_F(CoordCheckRun, DepthIsHeldByItsExponentAlone) {
  request_.overrides = {"train.sequence_length=32"};
  EXPECT_THAT(check(kAdamW, {GrowthAxis::kDepth}).failed, Contains("change of residual"));
  EXPECT_THAT(testing::read_file(request_.out / "coord-check.txt"), HasSubstr("nothing follows the depth"));
  for (const std::string optimizer : {kAdamW, kSgd}) {
    const Result deep = check(optimizer + "parametrization { depth_exponent: 1 }", {GrowthAxis::kDepth});
    EXPECT_EQ(deep.exit_code, 0) << optimizer;
    EXPECT_THAT(deep.failed, IsEmpty()) << optimizer;
  }
  EXPECT_THAT(testing::read_file(request_.out / "coord-check.jsonl"), HasSubstr(R"("axis":"depth","optimizer":"SGD")"));
  EXPECT_THAT(testing::read_file(request_.out / "coord-check.jsonl"), HasSubstr(R"("layers":8)"));
}

// A multiplier that is wrong by a power of the width is seen in the rows of its own role, which pass otherwise.
struct Broken {
  const char* scaling;
  std::vector<std::string> rows;
};
const std::vector<Broken> kBrokenForAdamW = {
    {"role: EMBEDDING lr_width: 0.5", {"own part of embedding", "own part of readout"}},
    {"role: HIDDEN lr_width: 0", {"own part of W_q", "own part of W_o", "own part of MLP up"}},
    {"role: HIDDEN init_width: 0", {"at step 0 q", "at step 0 mlp"}},
    {"role: GATE lr_width: 0", {"own part of W_a", "own part of W_b"}},
    {"role: GATE init_width: 0", {"at step 0 z_a", "at step 0 z_b"}},
    {"role: GATE_SCALAR lr_width: -1", {"own part of A_log", "own part of dt_bias"}},
    {"role: CONV lr_width: -1", {"own part of conv q", "own part of conv v"}},
    {"role: NORM lr_width: -1", {"own part of norm", "own part of o_norm"}},
};
const std::vector<Broken> kBrokenForSgd = {
    {"role: EMBEDDING lr_width: 0", {"own part of embedding", "own part of readout"}},
    {"role: HIDDEN lr_width: 1", {"own part of W_q", "own part of MLP up"}},
    {"role: GATE lr_width: 1", {"own part of W_a", "own part of W_b"}},
    {"role: GATE_SCALAR lr_width: 0", {"own part of A_log", "own part of dt_bias"}},
    {"role: CONV lr_width: 0", {"own part of conv v"}},
    {"role: NORM lr_width: 0", {"own part of norm"}},
};

TEST_F(CoordCheckRun, EachBrokenMultiplierIsFound) {
  const auto find_each = [&](const std::string& optimizer, const std::vector<Broken>& cases) {
    const std::vector<std::string> anyhow = check(optimizer).failed;
    for (const Broken& broken : cases) {
      const Result result = check(optimizer + "parametrization { scaling { " + broken.scaling + " } }");
      EXPECT_EQ(result.exit_code, 1) << optimizer << broken.scaling;
      EXPECT_THAT(result.failed, IsSupersetOf(broken.rows)) << optimizer << broken.scaling;
      for (const std::string& row : broken.rows) EXPECT_THAT(anyhow, Not(Contains(row))) << optimizer;
    }
  };
  find_each(kAdamW, kBrokenForAdamW);
  request_.overrides = {"model.tie_embeddings=false"};
  find_each(kAdamW, {{"role: READOUT lr_width: 1", {"own part of readout"}}});
  // Clipping would share out among all what one has too much.
  request_.overrides = {"train.grad_clip=0"};
  find_each(kSgd, kBrokenForSgd);
}

// Plain SGD moves a weight by lr x multiplier x gradient.
TEST_F(CoordCheckRun, GradientsAndUpdatesAreThoseOfTheStep) {
  request_.overrides = {"train.grad_clip=0", "schedule.warmup_steps=0"};
  check("optimizer { sgd { lr: 0.02 momentum: 0 nesterov: false } }");
  std::map<std::pair<std::string, std::int64_t>, std::vector<double>> rms;  // of the embedding, by kind and width
  std::istringstream lines(testing::read_file(request_.out / "coord-check.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record["quantity"] != "EMBEDDING") continue;
    rms[{record["kind"], record["width"]}].push_back(record["rms"]);
  }
  EXPECT_EQ(rms.size(), 6u);
  for (const std::int64_t width : request_.widths) {
    const std::vector<double>&gradients = rms[{"gradient", width}], &updates = rms[{"update", width}];
    ASSERT_EQ(gradients.size(), 6u);  // two steps, three seeds
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      EXPECT_GT(gradients[i], 0);
      EXPECT_NEAR(updates[i], 0.02 * static_cast<double>(width) / 32 * gradients[i], 1e-4 * updates[i]);
    }
  }
  // They are in the table, without a verdict.
  EXPECT_THAT(testing::read_file(request_.out / "coord-check.txt"), HasSubstr("update GATE_SCALAR"));
}

TEST_F(CoordCheckRun, BadInputIsNamed) {
  const auto error = [&](auto&& change) {
    CoordCheckRequest good = request_;
    change();
    const std::string message = error_of([&] { check(kAdamW); });
    request_ = good;
    return message;
  };
  EXPECT_THAT(error([&] { request_.widths = {16, 32}; }), HasSubstr("--widths is 16,32: expected at least 3"));
  EXPECT_THAT(error([&] { request_.widths = {16, 64, 32}; }), HasSubstr("--widths is 16,64,32"));
  EXPECT_THAT(error([&] { request_.widths = {32, 40, 60}; }), HasSubstr("model.heads"));
  request_.layers = {2, 1, 4};
  EXPECT_THAT(error_of([&] { check(kAdamW, {GrowthAxis::kDepth}); }),
              HasSubstr("--layers is 2,1,4: expected at least"));
  EXPECT_THAT(error([&] { request_.steps = {0, 1}; }), HasSubstr("--steps is 0,1"));
  EXPECT_THAT(error([&] { request_.seeds = 0; }), HasSubstr("--seeds is 0"));
  EXPECT_THAT(error([&] { request_.data = folder_ / "nowhere"; }), HasSubstr("nowhere"));
  EXPECT_THAT(error([&] { request_.out = testing::write_file(folder_ / "file", ""); }),
              HasSubstr("file is not a folder"));
  request_.force = false;
  EXPECT_THAT(testing::names_in(request_.out), IsSupersetOf({"made-up-data"}));  // of the errors before: no result
  EXPECT_THAT(error([&] { request_.seeds = 0; }), HasSubstr("--seeds is 0"));
  testing::write_file(request_.out / "coord-check.txt", "");
  EXPECT_THAT(error([] {}), HasSubstr("out is not empty: expected an absent or empty folder, or --force"));
}

}  // namespace
}  // namespace mudelta
