#include "tests/support/compare.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <limits>

#include "tests/support/files.h"

// What a comparison that fails says and leaves behind.
namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;

std::string message_of(const ::testing::AssertionResult& result) {
  EXPECT_FALSE(result);
  return result.message();
}

Tensor counting(const Shape& shape) {
  const Tensor tensor = Tensor::empty(shape);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.data<float>()[i] = static_cast<float>(i % 7 + 1);
  return tensor;
}

TEST(Compare, NamesTheFirstBadElementAndCountsAll) {
  const Tensor expected = counting({5, 3, 8}), actual = expected.clone();
  EXPECT_TRUE(close(actual, expected, 1e-3));
  EXPECT_TRUE(same_bits(actual, expected));
  for (float& x : actual.span<float>()) x *= 1.0001f;  // as rounding does: no element of these is bad
  EXPECT_TRUE(close(actual, expected, 1e-3));
  actual.data<float>()[(3 * 3 + 1) * 8 + 5] += 2;
  actual.data<float>()[(4 * 3 + 2) * 8 + 7] += 3;
  EXPECT_THAT(message_of(close(actual, expected, 1e-3)),
              AllOf(HasSubstr("2 of 120 elements"), HasSubstr("the first is token 3, head 1, column 5: "),
                    HasSubstr("(worst 3")));
  const Tensor bits = expected.clone();
  bits.data<float>()[2 * 8 + 1] = -0.5f;
  EXPECT_THAT(message_of(same_bits(bits, expected)),
              HasSubstr("1 of 120 elements differ, the first is token 0, head 2, column 1: -0.5, expected 4"));
}

TEST(Compare, CountsWhatIsNotFinite) {
  const Tensor expected = counting({2, 2, 4, 3}), actual = expected.clone();
  actual.data<float>()[((1 * 2 + 0) * 4 + 2) * 3 + 1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message_of(close(actual, expected, 1e9)),
              AllOf(HasSubstr("1 of 48 elements"), HasSubstr("slot 1, head 0, row 2, column 1: nan")));
  actual.data<float>()[0] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(message_of(close(actual, expected, 1e9)), HasSubstr("2 of 48 elements"));
}

// Every element is off by the same: none stands out.
TEST(Compare, CountsAllWhereAllAreOff) {
  const Tensor expected = counting({10, 4}), actual = expected.clone();
  for (float& x : actual.span<float>()) x += 0.02f;
  EXPECT_THAT(message_of(close(actual, expected, 1e-3)),
              AllOf(HasSubstr("40 of 40 elements"), HasSubstr("the first is row 0, column 0: ")));
}

TEST(Compare, WritesBothTensorsWhereItIsTold) {
  const TemporaryFolder folder;
  const Tensor expected = counting({2, 3}), actual = expected.clone();
  actual.data<float>()[4] = 9;
  setenv("MUDELTA_DUMP", folder.path().c_str(), 1);
  const std::string message = message_of(close(actual, expected, 1e-3));
  unsetenv("MUDELTA_DUMP");
  const std::string stem = folder.path().string() + "/Compare.WritesBothTensorsWhereItIsTold-1";
  EXPECT_THAT(message, HasSubstr("written to " + stem + "-actual.npy"));
  std::string bytes = read_file(stem + "-actual.npy");
  ASSERT_EQ(bytes.size(), 128 + 6 * sizeof(float));
  EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_THAT(bytes.substr(10, 118),
              AllOf(::testing::StartsWith("{'descr': '<f4', 'fortran_order': False, 'shape': (2,3,), }"),
                    ::testing::EndsWith(" \n")));
  EXPECT_EQ(bytes.substr(128), std::string(reinterpret_cast<const char*>(actual.raw()), 24));
  EXPECT_TRUE(std::filesystem::exists(stem + "-expected.npy"));
}

}  // namespace
}  // namespace mudelta::testing
