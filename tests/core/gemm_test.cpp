#include "core/gemm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "core/gemm_onednn.h"
#include "tests/core/gemm_cases.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::random_normal;
using testing::to_doubles;

using testing::Case;
using testing::reference;

::testing::AssertionResult fits(const Case& p) {
  return testing::fits(
      p, [](const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options) { gemm(a, b, c, options, {}); });
}

class GemmSizes : public ::testing::TestWithParam<std::tuple<DType, DType>> {};

TEST_P(GemmSizes, MatchesADoubleLoop) {
  const auto [operands, result] = GetParam();
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      for (const bool accumulate : {false, true}) {
        if (accumulate && result == DType::kBFloat16) continue;
        for (const std::int64_t m : {1, 3, 17, 64, 129}) {
          for (const std::int64_t n : {1, 3, 17, 64, 129}) {
            for (const std::int64_t k : {1, 17, 129}) {
              ASSERT_TRUE(fits({m, n, k, {transpose_a, transpose_b, accumulate}, operands, result}));
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, GemmSizes,
                         ::testing::Values(std::tuple{DType::kFloat32, DType::kFloat32},
                                           std::tuple{DType::kBFloat16, DType::kFloat32},
                                           std::tuple{DType::kBFloat16, DType::kBFloat16}),
                         [](const auto& test) {
                           return fmt::format("{}To{}", name_of(std::get<0>(test.param)),
                                              name_of(std::get<1>(test.param)));
                         });

RC_GTEST_PROP(Gemm, MatchesADoubleLoopAtAnySize, ()) {
  Case p{*rc::gen::inRange<std::int64_t>(0, 90),
         *rc::gen::inRange<std::int64_t>(0, 90),
         *rc::gen::inRange<std::int64_t>(0, 90),
         {*rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>()}};
  if (*rc::gen::arbitrary<bool>()) {
    p.operands = DType::kBFloat16;
    if (!p.options.accumulate && *rc::gen::arbitrary<bool>()) p.result = DType::kBFloat16;
  }
  const auto result = fits(p);
  if (!result) RC_FAIL(result.message());
}

// What CPUs with bfloat16 instructions use; others emulate it.
TEST(Gemm, OneDnnMultipliesBFloat16) {
  if (!onednn::can_multiply_bfloat16()) GTEST_SKIP() << "oneDNN needs AVX-512 for bfloat16 products";
  const auto multiply = [](const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options) {
    onednn::gemm_bfloat16(a, b, c, {c.size(0), c.size(1), a.size(options.transpose_a ? 0 : 1), options});
  };
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      for (const std::int64_t size : {1, 17, 129}) {
        const GemmOptions written{transpose_a, transpose_b}, added{transpose_a, transpose_b, true};
        EXPECT_TRUE(testing::fits({size, 64, 33, written, DType::kBFloat16, DType::kBFloat16}, multiply));
        EXPECT_TRUE(testing::fits({65, size, 17, written, DType::kBFloat16, DType::kFloat32}, multiply));
        EXPECT_TRUE(testing::fits({17, 129, size, added, DType::kBFloat16, DType::kFloat32}, multiply));
      }
    }
  }
}

TEST(Gemm, WideAndDeep) {
  for (const DType operands : {DType::kFloat32, DType::kBFloat16}) {
    EXPECT_TRUE(fits({5, 1100, 700, {.transpose_b = true}, operands}));
    EXPECT_TRUE(fits({300, 30, 2051, {.transpose_a = true, .accumulate = true}, operands}));
    EXPECT_TRUE(fits({3, 1100, 515, {.transpose_b = true, .accumulate = true}, operands}));  // few rows
    EXPECT_TRUE(fits({200, 1100, 260, {.transpose_b = true}, operands}));                    // many blocks
    EXPECT_TRUE(fits({5, 1030, 4200, {}, operands}));  // more than is packed at a time
    EXPECT_TRUE(fits({5, 1030, 4200, {.transpose_a = true, .accumulate = true}, operands}));
  }
}

TEST(Gemm, EmptySizes) {
  for (const DType operands : {DType::kFloat32, DType::kBFloat16}) {
    for (const bool accumulate : {false, true}) {
      EXPECT_TRUE(fits({0, 4, 3, {.accumulate = accumulate}, operands}));
      EXPECT_TRUE(fits({4, 0, 3, {.accumulate = accumulate}, operands}));
      EXPECT_TRUE(fits({4, 3, 0, {.accumulate = accumulate}, operands}));  // zeros, or c as it was
      EXPECT_TRUE(fits({0, 0, 0, {.accumulate = accumulate}, operands}));
    }
  }
  EXPECT_TRUE(fits({4, 3, 0, {}, DType::kBFloat16, DType::kBFloat16}));
}

// A bfloat16 sum of ones would stop at 256.
TEST(Gemm, BFloat16ProductsAccumulateInFloat32) {
  constexpr std::int64_t kDepth = 4096;
  const Tensor ones = Tensor::empty({1, kDepth});
  std::ranges::fill(ones.span<float>(), 1.0f);
  const Tensor a = ones.to(DType::kBFloat16);
  const Tensor c = Tensor::zeros({1, 1});
  gemm(a, a, c, {.transpose_b = true}, {});
  EXPECT_EQ(c.data<float>()[0], kDepth);
}

TEST(Gemm, SpreadsNanAndInfinity) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const float infinity = std::numeric_limits<float>::infinity();
    const Tensor a = Tensor::from(std::vector<float>{NAN, 1, infinity, 1, 1, 1}, {3, 2}).to(dtype);
    const Tensor b = Tensor::from(std::vector<float>{1, 1}, {2, 1}).to(dtype);
    const Tensor c = Tensor::zeros({3, 1});
    gemm(a, b, c, {}, {});
    EXPECT_TRUE(std::isnan(c.data<float>()[0]));
    EXPECT_EQ(c.data<float>()[1], infinity);
    EXPECT_EQ(c.data<float>()[2], 2);
  }
}

TEST(Gemm, IsDeterministic) {
  const Tensor a = random_normal({129, 257}, "a"), b = random_normal({257, 65}, "b");
  const Tensor first = Tensor::empty({129, 65}), second = Tensor::empty({129, 65});
  gemm(a, b, first, {}, {});
  gemm(a, b, second, {}, {});
  EXPECT_TRUE(testing::same_bits(first, second));
}

// oneDNN by itself shares a long k among the threads where c is small, and depends on their number.
TEST(Gemm, BitsDoNotDependOnTheNumberOfThreads) {
  const int before = omp_get_max_threads();
  const std::tuple<std::int64_t, std::int64_t, std::int64_t> sizes[] = {
      {1, 64, 2048}, {6, 64, 2048}, {201, 37, 299}, {37, 299, 201}, {129, 257, 700}, {64, 48, 2048}, {6, 1030, 4200}};
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [m, n, k] : sizes) {
      for (const GemmOptions options :
           {GemmOptions{}, {.transpose_b = true}, {.transpose_a = true, .accumulate = true}}) {
        const Tensor a = random_normal(options.transpose_a ? Shape{k, m} : Shape{m, k}, "a", 1, 0, 1, dtype);
        const Tensor b = random_normal(options.transpose_b ? Shape{n, k} : Shape{k, n}, "b", 1, 0, 1, dtype);
        const auto product = [&](int threads) {
          omp_set_num_threads(threads);
          const Tensor c = random_normal({m, n}, "c");
          gemm(a, b, c, options, {});
          return c;
        };
        const Tensor alone = product(1);
        for (const int threads : {2, 3, 7}) {
          EXPECT_TRUE(testing::same_bits(product(threads), alone))
              << name_of(dtype) << " M " << m << " N " << n << " K " << k << ", " << threads << " threads";
        }
      }
    }
  }
  omp_set_num_threads(before);
}

// A row of c is the same whatever stands beside it.
TEST(Gemm, RowsDoNotDependOnOtherRows) {
  const Tensor a = random_normal({131, 700}, "a"), b = random_normal({700, 75}, "b");
  const Tensor whole = Tensor::empty({131, 75}), part = Tensor::empty({9, 75});
  gemm(a, b, whole, {}, {});
  gemm(a.slice(50, 59), b, part, {}, {});
  EXPECT_TRUE(testing::same_bits(whole.slice(50, 59).clone(), part));
}

TEST(Gemm, WorksOnViews) {
  const Tensor a = random_normal({7, 5}, "a"), b = random_normal({5, 4}, "b"), c = Tensor::zeros({9, 4});
  gemm(a.slice(2, 5), b, c.slice(3, 6), {}, {});
  EXPECT_TRUE(testing::close(c.slice(3, 6), reference(a.slice(2, 5), b, std::vector<double>(12), {3, 4, 5, {}}), 1e-6));
  EXPECT_TRUE(testing::close(c.slice(0, 3), std::vector<double>(12), 0));
  EXPECT_TRUE(testing::close(c.slice(6, 9), std::vector<double>(12), 0));
}

TEST(Gemm, RefusesShapesThatDoNotFit) {
  const auto error = [](const Shape& a, const Shape& b, const Shape& c, GemmOptions options = {}) {
    return error_of([&] { gemm(Tensor::zeros(a), Tensor::zeros(b), Tensor::zeros(c), options, {}); });
  };
  EXPECT_THAT(error({2, 3}, {4, 5}, {2, 5}), AllOf(HasSubstr("float32[2, 3]"), HasSubstr("float32[4, 5]")));
  EXPECT_THAT(error({2, 3}, {3, 5}, {5, 2}), HasSubstr("c float32[5, 2]"));
  EXPECT_THAT(error({2, 3}, {3, 5}, {2, 4}), HasSubstr("op(a) [M, K]"));
  EXPECT_THAT(error({2, 3}, {3, 5}, {2, 5}, {.transpose_a = true}), HasSubstr("transpose_a true"));
  EXPECT_THAT(error({2, 3}, {3, 5}, {2, 5}, {.transpose_b = true}), HasSubstr("transpose_b true"));
  EXPECT_THAT(error({6}, {3, 5}, {2, 5}), HasSubstr("expected matrices"));
  EXPECT_THAT(error({1, 2, 3}, {3, 5}, {2, 5}), HasSubstr("expected matrices"));
}

TEST(Gemm, RefusesDTypesThatDoNotFit) {
  const auto error = [](DType a, DType b, DType c, GemmOptions options = {}) {
    return error_of([&] {
      gemm(Tensor::zeros({2, 2}, a), Tensor::zeros({2, 2}, b), Tensor::zeros({2, 2}, c), options, {});
    });
  };
  using enum DType;
  EXPECT_THAT(error(kFloat32, kBFloat16, kFloat32), HasSubstr("b bfloat16[2, 2]"));
  EXPECT_THAT(error(kInt32, kInt32, kFloat32), HasSubstr("int32[2, 2]"));
  EXPECT_THAT(error(kFloat32, kFloat32, kBFloat16), HasSubstr("c float32"));
  EXPECT_THAT(error(kBFloat16, kBFloat16, kBFloat16, {.accumulate = true}), HasSubstr("c float32"));
  EXPECT_THAT(error(kFloat32, kFloat32, kInt32), HasSubstr("c float32"));
}

class LinearTest : public ::testing::TestWithParam<DType> {
 protected:
  static constexpr std::int64_t kRows = 11, kIn = 7, kOut = 5;
  const Tensor x_ = random_normal({kRows, kIn}, "x", 1, 0, 1, GetParam());
  const Tensor w_ = random_normal({kOut, kIn}, "w", 1, 0, 1, GetParam());
  const Tensor dy_ = random_normal({kRows, kOut}, "dy", 1, 0, 1, GetParam());
  const Tensor dw_ = random_normal({kOut, kIn}, "dw");
};

TEST_P(LinearTest, Forward) {
  const Tensor y = Tensor::empty({kRows, kOut});
  linear_forward(x_, w_, y, {});
  const Case p{kRows, kOut, kIn, {.transpose_b = true}};
  EXPECT_TRUE(testing::close(y, reference(x_, w_, std::vector<double>(kRows * kOut), p), 1e-6));
}

TEST_P(LinearTest, BackwardWritesDxAndAddsToDw) {
  const Tensor dx = random_normal({kRows, kIn}, "dx");
  const auto expected_dx = reference(dy_, w_, std::vector<double>(kRows * kIn), {kRows, kIn, kOut, {}});
  const auto expected_dw = reference(dy_, x_, to_doubles(dw_), {kOut, kIn, kRows, {.transpose_a = true}});
  linear_backward(x_, w_, dy_, dx, false, dw_, {});
  EXPECT_TRUE(testing::close(dx, expected_dx, 1e-6));
  EXPECT_TRUE(testing::close(dw_, expected_dw, 1e-6));
}

TEST_P(LinearTest, BackwardAddsToDx) {
  const Tensor dx = random_normal({kRows, kIn}, "dx");
  const auto expected_dx = reference(dy_, w_, to_doubles(dx), {kRows, kIn, kOut, {}});
  linear_backward(x_, w_, dy_, dx, true, dw_, {});
  EXPECT_TRUE(testing::close(dx, expected_dx, 1e-6));
}

TEST_P(LinearTest, BackwardWithoutDx) {
  const auto expected_dw = reference(dy_, x_, to_doubles(dw_), {kOut, kIn, kRows, {.transpose_a = true}});
  linear_backward(x_, w_, dy_, {}, false, dw_, {});
  EXPECT_TRUE(testing::close(dw_, expected_dw, 1e-6));
}

INSTANTIATE_TEST_SUITE_P(DTypes, LinearTest, ::testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace mudelta
