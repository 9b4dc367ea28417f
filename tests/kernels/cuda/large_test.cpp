// Ops on more blocks than the 65,535 that a grid's other dimensions allow, and on more elements than an int counts.
// What the device gets is a block of rows repeated again and again; the CPU's op on one block tells what all must
// become. On the emulator, which would take hours, there are few repeats: these show that the tests work.

#include <algorithm>
#include <set>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gates.h"
#include "kernels/l2_norm.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "kernels/rms_norm.h"
#include "kernels/short_conv.h"
#include "kernels/swiglu.h"
#include "tests/kernels/cuda/on_device.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;

struct Argument {
  enum Kind { kRepeated, kOnce };

  Tensor block;
  Kind kind = kRepeated;
  Tensor on_device;  // of kOnce: what the device gets in place of `block`
};

Tensor repeat(const Tensor& block, std::int64_t repeats) {
  std::vector<std::int64_t> sizes(block.shape().sizes().begin(), block.shape().sizes().end());
  sizes[0] *= repeats;
  const Tensor all = Tensor::empty(Shape(std::span<const std::int64_t>(sizes)), block.dtype(), device());
  all.slice(0, block.size(0)).copy_from(block);
  for (std::int64_t done = block.num_bytes(); done < all.num_bytes(); done *= 2) {
    gpu::copy(all.raw() + done, all.raw(), std::min(done, all.num_bytes() - done), Stream(device()).handle());
  }
  return all;
}

// Expects `op` to leave in the first and last repeats, one in the middle, and those around element 2^31 what it leaves
// in the block on the host.
void expect_repeated(const std::vector<Argument>& arguments, std::int64_t repeats, const Op& op,
                     double tolerance_factor = 1) {
  Tensors on_host, there;
  for (const Argument& argument : arguments) {
    on_host.push_back(argument.block.clone());
    there.push_back(argument.kind == Argument::kRepeated ? repeat(argument.block, repeats)
                    : argument.on_device                 ? argument.on_device.to(device())
                                                         : argument.block.to(device()));
  }
  op(on_host, {});
  op(there, Stream(device()));
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].kind == Argument::kOnce) continue;
    const std::int64_t rows = on_host[i].size(0), far = (std::int64_t{1} << 31) / on_host[i].numel();
    for (const std::int64_t window : std::set{std::int64_t{0}, repeats / 2, far - 1, far, far + 1, repeats - 1}) {
      if (window >= repeats) continue;
      EXPECT_TRUE(close(there[i].slice(window * rows, (window + 1) * rows).to(Device()), on_host[i],
                        tolerance_factor * device_tolerance(on_host[i].dtype())))
          << "tensor " << i << ", repeat " << window;
    }
  }
}

// As many repeats of a block of so many elements as have more than `least` of them; on the emulator three.
std::int64_t repeats_beyond(std::int64_t least, std::int64_t elements) { return kEmulated ? 3 : least / elements + 3; }

constexpr std::int64_t kManyBlocks = 65'536, kManyElements = std::int64_t{1} << 31;

Tensor normal(const Shape& shape, std::string_view name, DType dtype = DType::kBFloat16) {
  return random_normal(shape, name, 1, 0, 1, dtype);
}

class LargeOnDevice : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped() || kEmulated) return;
    constexpr std::int64_t kNeeded = std::int64_t{24} << 30;
    if (gpu::devices()[0].memory_bytes < kNeeded) GTEST_SKIP() << "takes a GPU with " << kNeeded << " bytes of memory";
  }
};

// ---- more than 65,535 blocks

TEST_F(LargeOnDevice, ManyBlocksOfElements) {
  constexpr std::int64_t kSize = 10'007, kPerBlock = 2048;
  const std::int64_t repeats = repeats_beyond(kManyBlocks * kPerBlock, kSize);
  const Argument wide{normal({kSize}, "w", DType::kFloat32)}, other{normal({kSize}, "m", DType::kFloat32)};
  const Argument narrow{normal({kSize}, "x")}, positive{random_uniform({kSize}, "v", 0, 1)};
  expect_repeated({narrow, wide}, repeats, [](const Tensors& t, Stream stream) { add_to(t[0], t[1], stream); });
  expect_repeated({wide}, repeats, [](const Tensors& t, Stream stream) { scale(t[0], 0.3f, stream); });
  expect_repeated({wide, narrow}, repeats, [](const Tensors& t, Stream stream) { convert(t[0], t[1], stream); });
  expect_repeated({narrow, {normal({kSize}, "u")}}, repeats,
                  [](const Tensors& t, Stream stream) { swiglu_forward(t[0], t[1], t[1], stream); });
  expect_repeated({narrow, {normal({kSize}, "u")}, {normal({kSize}, "dy")}}, repeats,
                  [](const Tensors& t, Stream stream) { swiglu_backward(t[0], t[1], t[2], t[0], t[1], stream); });
  expect_repeated({wide, other, positive, wide}, repeats, [](const Tensors& t, Stream stream) {
    adamw_update({.weight = t[0], .exp_avg = t[1], .exp_avg_sq = t[2], .gradient = t[3], .lr = 0.03f, .eps = 1e-3f},
                 stream);
  });
  expect_repeated({wide, other, wide}, repeats, [](const Tensors& t, Stream stream) {
    sgd_update({.weight = t[0], .momentum_buffer = t[1], .gradient = t[2], .lr = 0.03f, .momentum = 0.9f}, stream);
  });
}

// Of rms_norm_backward and the sums no shape has more than 1,024 blocks, and of embedding_backward none that fits.
TEST_F(LargeOnDevice, ManyBlocksOfRows) {
  constexpr std::int64_t kRows = 300, kDim = 16, kRowsPerBlock = 16;
  const std::int64_t repeats = repeats_beyond(kManyBlocks * kRowsPerBlock, kRows);
  const Argument x{normal({kRows, kDim}, "x")}, gate{normal({kRows, kDim}, "g")}, y{normal({kRows, kDim}, "y")};
  const Argument rstd{random_uniform({kRows}, "r", 0.5, 1.5)};
  const Argument weight{normal({kDim}, "w", DType::kFloat32), Argument::kOnce};
  expect_repeated({x, y, rstd}, repeats,
                  [](const Tensors& t, Stream stream) { l2_norm_forward(t[0], 1e-6f, t[1], t[2], stream); });
  expect_repeated({y, rstd, x}, repeats,
                  [](const Tensors& t, Stream stream) { l2_norm_backward(t[0], t[1], t[2], t[2], stream); });
  expect_repeated({x, weight, y, rstd}, repeats,
                  [](const Tensors& t, Stream stream) { rms_norm_forward(t[0], t[1], 1e-3f, t[2], t[3], stream); });
  expect_repeated({x, gate, weight, y, rstd}, repeats, [](const Tensors& t, Stream stream) {
    gated_rms_norm_forward(t[0], t[1], t[2], 1e-3f, t[3], t[4], stream);
  });
  const Argument table{normal({50, kDim}, "table"), Argument::kOnce}, tokens{random_tokens(kRows, 50)};
  expect_repeated({table, tokens, {filled({kRows, kDim})}}, repeats,
                  [](const Tensors& t, Stream stream) { embedding_forward(t[0], t[1], t[2], stream); });
}

TEST_F(LargeOnDevice, ManyBlocksOfGates) {
  constexpr std::int64_t kTokens = 384, kTokensPerBlock = 128;
  const std::int64_t repeats = repeats_beyond(kManyBlocks * kTokensPerBlock, kTokens);
  const Shape shape{kTokens, 2};
  const Argument a{normal(shape, "a", DType::kFloat32)}, b{normal(shape, "b", DType::kFloat32)};
  const Argument a_log{normal({2}, "A", DType::kFloat32), Argument::kOnce};
  const Argument dt_bias{normal({2}, "dt", DType::kFloat32), Argument::kOnce};
  expect_repeated({a, b, a_log, dt_bias, {filled(shape)}, {filled(shape)}}, repeats,
                  [](const Tensors& t, Stream stream) {
                    gates_forward({t[0], t[1], t[2], t[3], 2.0f}, t[4], t[5], stream);
                  });
  expect_repeated({a,
                   b,
                   a_log,
                   dt_bias,
                   {normal(shape, "dg", DType::kFloat32)},
                   {normal(shape, "db", DType::kFloat32)},
                   {filled({2}), Argument::kOnce},
                   {filled({2}), Argument::kOnce}},
                  repeats, [](const Tensors& t, Stream stream) {
                    gates_backward({t[0], t[1], t[2], t[3], 2.0f}, t[4], t[5], {t[4], t[5], t[6], t[7]}, stream);
                  });
}

// Its blocks of logits hold as many tokens as fit, so that blocks of a small vocabulary are many.
TEST_F(LargeOnDevice, ManyBlocksOfTokens) {
  constexpr std::int64_t kTokens = 300, kWidth = 8, kVocab = 5;
  const std::int64_t repeats = repeats_beyond(kManyBlocks, kTokens);
  expect_repeated(
      {{normal({kTokens, kWidth}, "h")},
       {normal({kVocab, kWidth}, "w"), Argument::kOnce},
       {random_tokens(kTokens, kVocab)},
       {filled({kTokens})},
       {filled({kTokens, kWidth}, DType::kBFloat16)},
       {filled({kVocab, kWidth}), Argument::kOnce}},
      repeats,
      [](const Tensors& t, Stream stream) {
        cross_entropy_forward_backward({t[0], t[1], t[2], 1.0f}, 1.0f, t[3], t[4], t[5], stream);
      },
      10);  // products of float32 sums in another order, rounded
}

// ---- more than 2^31 elements: 9 GB of two tensors of bfloat16, 13 of three

TEST_F(LargeOnDevice, ManyElements) {
  constexpr std::int64_t kSize = 1'000'003;
  const std::int64_t size = kEmulated ? 1003 : kSize, repeats = repeats_beyond(kManyElements, size);
  const Argument x{normal({size}, "x")}, y{normal({size}, "y")}, wide{normal({size}, "w", DType::kFloat32)};
  expect_repeated({x, y}, repeats, [](const Tensors& t, Stream stream) { convert(t[0], t[1], stream); });
  expect_repeated({x, y}, repeats, [](const Tensors& t, Stream stream) { swiglu_forward(t[0], t[1], t[1], stream); });
  expect_repeated({wide}, repeats, [](const Tensors& t, Stream stream) { scale(t[0], 0.3f, stream); });
  expect_repeated({x, wide}, repeats, [](const Tensors& t, Stream stream) { add_to(t[0], t[1], stream); });
}

TEST_F(LargeOnDevice, SumsOfManyElements) {
  const std::int64_t size = kEmulated ? 1003 : 1'000'003, repeats = repeats_beyond(kManyElements, size);
  const Tensor block = normal({size}, "x"), all = repeat(block, repeats);
  double sum = 0, squares = 0;
  for (const double x : to_doubles(block)) sum += x, squares += x * x;
  const Tensor totals = Tensor::zeros({2}, DType::kFloat64, device());
  add_sum(all, totals.slice(0, 1), Stream(device()));
  add_sum_of_squares(all, 2, totals.slice(1, 2), Stream(device()));
  const std::vector<double> found = to_doubles(totals.to(Device()));
  const auto times = static_cast<double>(repeats);
  EXPECT_NEAR(found[0] / (times * sum), 1, 1e-9);
  EXPECT_NEAR(found[1] / (times * 2 * squares), 1, 1e-12);
}

TEST_F(LargeOnDevice, NormsOfManyElements) {
  const std::int64_t rows = kEmulated ? 9 : 250, dim = kEmulated ? 136 : 4096;
  const std::int64_t repeats = repeats_beyond(kManyElements, rows * dim);
  const Argument x{normal({rows, dim}, "x")}, y{normal({rows, dim}, "y")}, gate{normal({rows, dim}, "g")};
  const Argument rstd{random_uniform({rows}, "r", 0.5, 1.5)};
  const Argument weight{normal({dim}, "w", DType::kFloat32), Argument::kOnce}, dweight{filled({dim}), Argument::kOnce};
  expect_repeated({x, rstd}, repeats,
                  [](const Tensors& t, Stream stream) { l2_norm_forward(t[0], 1e-6f, t[0], t[1], stream); });
  expect_repeated({x, weight, y, rstd}, repeats,
                  [](const Tensors& t, Stream stream) { rms_norm_forward(t[0], t[1], 1e-3f, t[2], t[3], stream); });
  expect_repeated({x, weight, rstd, gate, y, dweight}, repeats, [](const Tensors& t, Stream stream) {
    rms_norm_backward(t[0], t[1], t[2], t[3], {}, t[4], t[5], stream);
  });
  expect_repeated({x, gate, weight, y, rstd}, repeats, [](const Tensors& t, Stream stream) {
    gated_rms_norm_forward(t[0], t[1], t[2], 1e-3f, t[3], t[4], stream);
  });
}

// More than 65,535 blocks, too.
TEST_F(LargeOnDevice, ShortConvOfManyElements) {
  const std::int64_t tokens = kEmulated ? 70 : 10'007, channels = kEmulated ? 16 : 512, taps = 4;
  const std::int64_t repeats = repeats_beyond(kManyElements, tokens * channels);
  std::vector<std::int32_t> ends{0};
  for (std::int64_t i = 1; i <= repeats; ++i) ends.push_back(static_cast<std::int32_t>(i * tokens));
  const Argument x{normal({tokens, channels}, "x")}, y{normal({tokens, channels}, "y")};
  const Argument weight{normal({channels, taps}, "w", DType::kFloat32), Argument::kOnce};
  const Argument cu_seqlens{Tensor::from(std::span(ends).first(2), {2}), Argument::kOnce,
                            Tensor::from(ends, {repeats + 1})};
  const Argument dweight{filled({channels, taps}), Argument::kOnce};
  expect_repeated({x, weight, cu_seqlens, y}, repeats, [](const Tensors& t, Stream stream) {
    short_conv_forward({t[0], t[1], t[2], {}}, t[3], {}, stream);
  });
  expect_repeated({x, weight, cu_seqlens, y, {filled({tokens, channels}, DType::kBFloat16)}, dweight}, repeats,
                  [](const Tensors& t, Stream stream) {
                    short_conv_backward({t[0], t[1], t[2], {}}, t[3], {t[4], t[5], {}}, stream);
                  });
  const Shape heads{tokens, channels / 16, 16};
  const Argument rstd{filled({tokens, channels / 16})};
  expect_repeated({x, weight, cu_seqlens, {filled(heads, DType::kBFloat16)}, rstd}, repeats,
                  [](const Tensors& t, Stream stream) {
                    short_conv_l2_norm_forward({t[0], t[1], t[2], {}}, 1e-6f, t[3], t[4], {}, stream);
                  });
}

TEST_F(LargeOnDevice, CrossEntropyOfManyElements) {
  const std::int64_t tokens = kEmulated ? 30 : 4'000, width = kEmulated ? 16 : 512, vocab = 40;
  const std::int64_t repeats = repeats_beyond(kManyElements, tokens * width);
  expect_repeated(
      {{normal({tokens, width}, "h")},
       {random_normal({vocab, width}, "w", 0.1, 0, 1, DType::kBFloat16), Argument::kOnce},
       {random_tokens(tokens, vocab)},
       {filled({tokens})},
       {filled({tokens, width}, DType::kBFloat16)},
       {filled({vocab, width}), Argument::kOnce}},
      repeats,
      [](const Tensors& t, Stream stream) {
        cross_entropy_forward_backward({t[0], t[1], t[2], 1.0f}, 1.0f, t[3], t[4], t[5], stream);
      },
      10);
}

}  // namespace
}  // namespace mudelta::testing
