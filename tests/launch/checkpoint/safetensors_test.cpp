#include "launch/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/random.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

// A file with this header, unpadded, before `data_bytes` zeros.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  return little_endian(header.size()) + header + std::string(data_bytes, '\0');
}

class SafetensorsTest : public ::testing::Test {
 protected:
  std::string error_of_reading(std::string_view bytes) const {
    const auto path = write_file(folder_ / "bad.safetensors", bytes);
    const std::string message = error_of([&] { SafetensorsFile file(path); });
    EXPECT_THAT(message, HasSubstr(path.string()));
    return message;
  }

  TemporaryFolder folder_;
};

TEST_F(SafetensorsTest, GivesBackEveryDtypeAndShape) {
  const std::vector<float> extremes = {std::numeric_limits<float>::quiet_NaN(), -0.0f,
                                       std::numeric_limits<float>::infinity(), std::numeric_limits<float>::denorm_min(),
                                       3e38f};
  const Tensors tensors = {
      {"odd.bfloat16", random_normal({3, 5}, "a", 1, 0, 1, DType::kBFloat16)},
      {"extremes", Tensor::from(extremes, {5})},
      {"scalar", random_normal({}, "b")},
      {"empty", Tensor::empty({0, 4})},
      {"integers", Tensor::from(std::vector<std::int32_t>{-1, 0, INT32_MIN, INT32_MAX}, {2, 2})},
      {"deep \"quoted\"\n", random_normal({1, 2, 1, 3, 1, 2}, "c")},
  };
  const auto path = folder_ / "a.safetensors";
  const std::int64_t num_bytes = write_safetensors(path, tensors, {{"format", "pt"}});
  EXPECT_EQ(static_cast<std::uintmax_t>(num_bytes), std::filesystem::file_size(path));
  EXPECT_EQ(names_in(folder_.path()), std::vector<std::string>{"a.safetensors"});

  const SafetensorsFile file(path);
  EXPECT_EQ(file.num_bytes(), num_bytes);
  EXPECT_EQ(file.entries().size(), tensors.size());
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  for (const auto& [key, tensor] : tensors) {
    EXPECT_TRUE(same_bits(file.read(key), tensor)) << key;
    EXPECT_EQ(file.find(key).begin % size_of(tensor.dtype()), 0) << key;
  }
  EXPECT_THAT(error_of([&] { file.read("absent"); }), AllOf(HasSubstr(path.string()), HasSubstr("absent")));
}

TEST_F(SafetensorsTest, AFileOfNoTensors) {
  const auto path = folder_ / "none.safetensors";
  EXPECT_EQ(write_safetensors(path, {}, {}), 16);
  EXPECT_TRUE(SafetensorsFile(path).entries().empty());
}

TEST_F(SafetensorsTest, WritesTheFormatByteForByte) {
  const auto path = folder_ / "exact.safetensors";
  const Tensors tensors = {{"w", Tensor::from(std::vector<float>{1.0f, -2.0f}, {1, 2})},
                           {"i", Tensor::from(std::vector<std::int32_t>{258}, {1})}};
  write_safetensors(path, tensors, {});
  const std::string header =
      R"({"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"i":{"dtype":"I32","shape":[1],"data_offsets":[8,12]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0\x02\x01\x00\x00", 12);
  EXPECT_EQ(read_file(path), little_endian(header.size() + padding.size()) + header + padding + data);
}

TEST_F(SafetensorsTest, ReadsAHandWrittenFile) {
  const std::string header =
      R"({ "b" : {"shape":[2],"data_offsets":[4,8],"dtype":"BF16"}, "__metadata__": {"by": "hand"},)"
      R"( "a":{"data_offsets":[0,4],"dtype":"F32","shape":[]} }  )";
  const auto path = write_file(folder_ / "hand.safetensors",
                               little_endian(header.size()) + header + std::string("\0\0\0\x40\x80\x3f\x80\xbf", 8));
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("by"), "hand");
  EXPECT_TRUE(same_bits(file.read("a"), Tensor::from(std::vector<float>{2.0f}, {})));
  EXPECT_TRUE(same_bits(file.read("b"), Tensor::from(std::vector<float>{1.0f, -1.0f}, {2}).to(DType::kBFloat16)));
}

TEST_F(SafetensorsTest, RefusesAMalformedHeader) {
  EXPECT_THAT(error_of_reading(""), HasSubstr("has 0 bytes"));
  EXPECT_THAT(error_of_reading("1234567"), HasSubstr("has 7 bytes"));
  EXPECT_THAT(error_of_reading(little_endian(3) + "{}"), AllOf(HasSubstr("header of 3 bytes"), HasSubstr("at most 2")));
  EXPECT_THAT(error_of_reading(little_endian(UINT64_MAX) + "{}"), HasSubstr("at most 2"));
  EXPECT_THAT(error_of_reading(file_of("{\"a\":", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of_reading(file_of("[1]", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of_reading(file_of("{\"a\xff\":{}}", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of_reading(file_of(R"({"__metadata__":{"a":1}})", 0)), HasSubstr("expected a map of strings"));
}

TEST_F(SafetensorsTest, RefusesADeepHeaderAndShortensLongValues) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THAT(error_of_reading(file_of("{\"key\":" + deep + "}", 0)), HasSubstr("nested more than 64 deep"));
  const std::string message = error_of_reading(file_of("{\"key\":\"" + std::string(1'000'000, 'x') + "\"}", 0));
  EXPECT_THAT(message, HasSubstr("xxx..., expected an object"));
  EXPECT_LT(message.size(), 1000u);
}

TEST_F(SafetensorsTest, RefusesAMalformedEntry) {
  const auto error_of_entry = [&](const std::string& entry, std::size_t data_bytes) {
    return error_of_reading(file_of("{\"key\":" + entry + "}", data_bytes));
  };
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  };
  const std::string f32 = "\"F32\"";
  EXPECT_EQ(error_of([&] {
              SafetensorsFile(write_file(folder_ / "good", file_of("{\"key\":" + entry(f32, "[2]", "[0,8]") + "}", 8)));
            }),
            "no error was thrown");
  EXPECT_THAT(error_of_entry("7", 0), AllOf(HasSubstr("key: found 7"), HasSubstr("expected an object")));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[0]})", 0), HasSubstr("data_offsets"));
  EXPECT_THAT(error_of_entry(entry("\"F64\"", "[1]", "[0,8]"), 8), HasSubstr("dtype \"F64\""));
  EXPECT_THAT(error_of_entry(entry("4", "[1]", "[0,4]"), 4), HasSubstr("dtype 4"));
  EXPECT_THAT(error_of_entry(entry(f32, "[-1]", "[0,4]"), 4), HasSubstr("shape [-1]"));
  EXPECT_THAT(error_of_entry(entry(f32, "[1.5]", "[0,4]"), 4), HasSubstr("shape [1.5]"));
  EXPECT_THAT(error_of_entry(entry(f32, "[1,1,1,1,1,1,1]", "[0,4]"), 4), HasSubstr("at most 6 whole numbers"));
  EXPECT_THAT(error_of_entry(entry(f32, "[18446744073709551615]", "[0,4]"), 4), HasSubstr("whole numbers"));
  EXPECT_THAT(error_of_entry(entry(f32, "[4611686018427387904,4]", "[0,0]"), 0), HasSubstr("0 bytes of data"));
  EXPECT_THAT(error_of_entry(entry(f32, "[1]", "[4,0]"), 4), HasSubstr("expected [begin, end]"));
  EXPECT_THAT(error_of_entry(entry(f32, "[1]", "[0,4,8]"), 8), HasSubstr("expected [begin, end]"));
  EXPECT_THAT(error_of_entry(entry(f32, "[3]", "[0,8]"), 8), HasSubstr("8 bytes of data, expected those of F32 [3]"));
  EXPECT_THAT(error_of_entry(entry("\"BF16\"", "[2]", "[0,8]"), 8), HasSubstr("8 bytes of data"));
}

TEST_F(SafetensorsTest, RefusesDataThatDoNotTileTheFile) {
  const auto header = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a +
           R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)" + b + "}}";
  };
  EXPECT_THAT(error_of_reading(file_of(header("[0,8]", "[8,12]"), 11)),
              AllOf(HasSubstr("b: its data end 12 bytes"), HasSubstr("has only 11")));
  EXPECT_THAT(error_of_reading(file_of(header("[0,8]", "[8,12]"), 13)),
              AllOf(HasSubstr("has 13 bytes"), HasSubstr("expected 12")));
  EXPECT_THAT(error_of_reading(file_of(header("[0,8]", "[4,8]"), 8)), HasSubstr("b begin 4 bytes"));
  EXPECT_THAT(error_of_reading(file_of(header("[0,8]", "[4,8]"), 8)), HasSubstr("overlap"));
  EXPECT_THAT(error_of_reading(file_of(header("[0,8]", "[12,16]"), 16)), HasSubstr("gap"));
  EXPECT_THAT(error_of_reading(file_of(header("[4,12]", "[12,16]"), 16)), HasSubstr("gap"));
  // Of two entries with one key, JSON keeps one: the other's bytes are then nobody's.
  EXPECT_THAT(error_of_reading(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                       R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                       8)),
              HasSubstr("bytes after the header"));
}

TEST_F(SafetensorsTest, RefusesAFileCutAnywhere) {
  const auto path = folder_ / "whole.safetensors";
  write_safetensors(path, Tensors{{"w", random_normal({3}, "w")}}, {});
  const std::string whole = read_file(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(error_of_reading(whole.substr(0, size)), "no error was thrown") << size << " bytes";
  }
}

TEST_F(SafetensorsTest, RefusesAKeyThatOccursTwice) {
  const Tensor tensor = Tensor::zeros({1});
  EXPECT_THAT(error_of([&] {
                write_safetensors(folder_ / "twice", Tensors{{"w", tensor}, {"w", tensor}}, {});
              }),
              HasSubstr("w"));
  EXPECT_TRUE(names_in(folder_.path()).empty());
}

// Under a mapping this was SIGBUS.
TEST_F(SafetensorsTest, FileCutShortWhileInUse) {
  const auto path = folder_ / "a.safetensors";
  write_safetensors(path, Tensors{{"w", Tensor::zeros({10000})}}, {});
  const SafetensorsFile file(path);
  std::filesystem::resize_file(path, 5000);
  EXPECT_THAT(error_of([&] { file.read("w"); }), AllOf(HasSubstr(path.string()), HasSubstr("cut short")));
}

TEST_F(SafetensorsTest, ReportsWritesThatFail) {
  const Tensors tensors = {{"w", Tensor::zeros({10000})}};
  EXPECT_THAT(error_of([&] { write_safetensors(folder_ / "absent" / "a.safetensors", tensors, {}); }),
              AllOf(HasSubstr("absent/a.safetensors"), HasSubstr("No such file")));

  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small = {5000, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = error_of([&] { write_safetensors(folder_ / "a.safetensors", tensors, {}); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, previous);
  EXPECT_THAT(message, AllOf(HasSubstr("a.safetensors"), HasSubstr("File too large")));
  EXPECT_TRUE(names_in(folder_.path()).empty());
}

}  // namespace
}  // namespace mudelta::testing
