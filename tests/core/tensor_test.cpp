#include "core/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

TEST(Shape, SizesMustBeCountable) {
  const std::int64_t large = std::int64_t{1} << 32;
  EXPECT_EQ(product_of({large, large / 4, 1}), large * (large / 4));
  EXPECT_EQ(error_of([&] {
              product_of({3, large, large});
            }),
            "3 x 4294967296 x 4294967296 is 2^63 or more: too much to be counted");
  EXPECT_THAT(error_of([&] { Shape({large, large}); }), HasSubstr("too much to be counted"));
}

TEST(Tensor, BytesMustBeCountable) {
  EXPECT_THAT(error_of([] { Tensor::empty({std::int64_t{1} << 61}); }), HasSubstr("too much to be counted"));
}

Tensor counting(const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::from(values, shape);
}

TEST(Shape, SizesAndElements) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.numel(), 30);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 5);
  EXPECT_EQ(shape[-3], 2);
  EXPECT_EQ(shape.to_string(), "[2, 3, 5]");
}

TEST(Shape, ScalarAndEmpty) {
  EXPECT_EQ(Shape().rank(), 0);
  EXPECT_EQ(Shape().numel(), 1);
  EXPECT_EQ(Shape().to_string(), "[]");
  EXPECT_EQ((Shape{4, 0}).numel(), 0);
}

TEST(Shape, Equality) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 1}));
  EXPECT_NE(Shape(), (Shape{1}));
}

TEST(Shape, RefusesBadSizes) {
  EXPECT_THAT(error_of([] { Shape{2, -3}; }), AllOf(HasSubstr("dimension 1"), HasSubstr("-3")));
  EXPECT_THAT(error_of([] { Shape{1, 1, 1, 1, 1, 1, 1}; }), AllOf(HasSubstr("7"), HasSubstr("6")));
  for (const int dim : {2, -3}) {
    EXPECT_THAT(error_of([&] { (Shape{2, 3})[dim]; }), AllOf(HasSubstr(std::to_string(dim)), HasSubstr("[2, 3]")));
  }
}

TEST(Tensor, UndefinedUntilGiven) {
  const Tensor none;
  EXPECT_FALSE(none.defined());
  EXPECT_FALSE(none);
  EXPECT_EQ(none.to_string(), "undefined");
  EXPECT_THAT(error_of([&] { none.data<float>(); }), HasSubstr("undefined"));
}

TEST(Tensor, KnowsItsShapeAndType) {
  const Tensor tensor = Tensor::empty({2, 3}, DType::kBFloat16);
  EXPECT_TRUE(tensor);
  EXPECT_EQ(tensor.numel(), 6);
  EXPECT_EQ(tensor.num_bytes(), 12);
  EXPECT_EQ(tensor.size(-1), 3);
  EXPECT_EQ(tensor.to_string(), "bfloat16[2, 3]");
  EXPECT_EQ(tensor.device(), Device{});
}

TEST(Tensor, FromCopiesValues) {
  std::vector<float> values{1, 2, 3, 4};
  const Tensor tensor = Tensor::from(values, {2, 2});
  values[0] = 9;
  EXPECT_THAT(tensor.span<float>(), ElementsAre(1, 2, 3, 4));
  const std::vector<std::int32_t> ids{5, -6};
  EXPECT_THAT(Tensor::from(ids, {2}).span<std::int32_t>(), ElementsAre(5, -6));
  EXPECT_THAT(error_of([&] { Tensor::from(values, {5}); }), AllOf(HasSubstr("4 values"), HasSubstr("[5]")));
  EXPECT_THAT(error_of([&] { Tensor::from(ids, {1}); }), HasSubstr("2 values"));
}

TEST(Tensor, DataOfAnotherTypeIsRefused) {
  const Tensor tensor = Tensor::zeros({3});
  EXPECT_THAT(error_of([&] { tensor.data<bfloat16>(); }), AllOf(HasSubstr("float32[3]"), HasSubstr("as bfloat16")));
  EXPECT_THAT(error_of([&] { tensor.span<std::int32_t>(); }), HasSubstr("as int32"));
}

TEST(Tensor, CopiesShareStorageClonesDoNot) {
  const Tensor tensor = counting({4});
  const Tensor handle = tensor, clone = tensor.clone();
  tensor.data<float>()[0] = 7;
  EXPECT_EQ(handle.data<float>()[0], 7);
  EXPECT_EQ(clone.data<float>()[0], 0);
}

TEST(Tensor, ViewsShareStorage) {
  const Tensor tensor = counting({2, 6});
  const Tensor view = tensor.view({3, 4});
  EXPECT_EQ(view.to_string(), "float32[3, 4]");
  view.data<float>()[11] = -1;
  EXPECT_EQ(tensor.data<float>()[11], -1);
  EXPECT_THAT(error_of([&] { tensor.view({5}); }), AllOf(HasSubstr("float32[2, 6]"), HasSubstr("[5]")));
}

TEST(Tensor, SlicesTakeRows) {
  const Tensor tensor = counting({4, 3});
  const Tensor middle = tensor.slice(1, 3);
  EXPECT_EQ(middle.shape(), (Shape{2, 3}));
  EXPECT_THAT(middle.span<float>(), ElementsAre(3, 4, 5, 6, 7, 8));
  EXPECT_THAT(middle.slice(1, 2).span<float>(), ElementsAre(6, 7, 8));
  EXPECT_EQ(tensor.slice(4, 4).numel(), 0);
  EXPECT_EQ(Tensor::empty({0, 3}).slice(0, 0).shape(), (Shape{0, 3}));
  for (const auto& [begin, end] : {std::pair{-1, 2}, std::pair{3, 5}, std::pair{3, 2}}) {
    EXPECT_THAT(error_of([&] { tensor.slice(begin, end); }),
                HasSubstr(fmt::format("[{}, {}) of float32[4, 3]", begin, end)));
  }
  EXPECT_THAT(error_of([] { Tensor::empty({}).slice(0, 1); }), HasSubstr("float32[]"));
}

TEST(Tensor, FlatViewsTakeAnyRange) {
  const Tensor tensor = counting({3, 4});
  const Tensor part = tensor.flat_view(5, {2, 3});
  EXPECT_THAT(part.span<float>(), ElementsAre(5, 6, 7, 8, 9, 10));
  EXPECT_THAT(part.flat_view(2, {2}).span<float>(), ElementsAre(7, 8));
  EXPECT_EQ(tensor.flat_view(12, {0}).numel(), 0);
  EXPECT_THAT(error_of([&] { tensor.flat_view(7, {2, 3}); }), AllOf(HasSubstr("[7, 13)"), HasSubstr("float32[3, 4]")));
  EXPECT_THROW(tensor.flat_view(-1, {1}), Error);
  EXPECT_THROW(part.flat_view(1, {6}), Error);
}

TEST(Tensor, BFloat16ViewsCountElementsNotBytes) {
  const Tensor tensor = counting({6}).to(DType::kBFloat16);
  EXPECT_THAT(testing::to_doubles(tensor.flat_view(2, {3})), ElementsAre(2, 3, 4));
}

TEST(Tensor, ViewsKeepTheStorageAlive) {
  Tensor view;
  {
    const Tensor tensor = counting({100, 100});
    view = tensor.slice(50, 51);
  }
  const Tensor other = Tensor::zeros({100, 100});
  EXPECT_EQ(view.data<float>()[0], 5000);
}

TEST(Tensor, FillZeroTouchesOnlyItsView) {
  const Tensor tensor = counting({5});
  tensor.flat_view(1, {3}).fill_zero();
  EXPECT_THAT(tensor.span<float>(), ElementsAre(0, 0, 0, 0, 4));
  Tensor::empty({0}).fill_zero();
}

TEST(Tensor, CopyFrom) {
  const Tensor source = counting({2, 2}), target = Tensor::zeros({2, 2});
  target.copy_from(source);
  EXPECT_TRUE(testing::same_bits(target, source));
  EXPECT_THAT(error_of([&] { target.copy_from(counting({4})); }),
              AllOf(HasSubstr("float32[4]"), HasSubstr("float32[2, 2]")));
  EXPECT_THROW(target.copy_from(source.to(DType::kBFloat16)), Error);
}

TEST(Tensor, Conversions) {
  const std::vector<float> values{1.0f, 1.00390625f, -3.25f, 1e-40f, std::numeric_limits<float>::infinity(), NAN};
  const Tensor wide = Tensor::from(values, {2, 3});
  const Tensor narrow = wide.to(DType::kBFloat16);
  EXPECT_EQ(narrow.to_string(), "bfloat16[2, 3]");
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(narrow.span<bfloat16>()[i].bits, bfloat16(values[i]).bits);
  }
  EXPECT_TRUE(testing::same_bits(narrow.to(DType::kFloat32).to(DType::kBFloat16), narrow));
  EXPECT_EQ(wide.to(DType::kFloat32).raw(), wide.raw());
  EXPECT_THAT(error_of([&] { wide.to(DType::kInt32); }), AllOf(HasSubstr("float32[2, 3]"), HasSubstr("int32")));
}

}  // namespace
}  // namespace mudelta
