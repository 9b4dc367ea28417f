#include "data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <numeric>

#include "tests/data/support.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_file;
using testing::write_file;

std::string int32_bytes(std::int32_t value) {
  std::string bytes(4, '\0');
  for (int i = 0; i < 4; ++i) bytes[static_cast<std::size_t>(i)] = static_cast<char>(value >> (8 * i));
  return bytes;
}

// Ten tokens in shards of four: 0..8 and the separator.
class DatasetTest : public ::testing::Test {
 protected:
  DatasetTest() {
    std::vector<std::int32_t> tokens(10);
    std::iota(tokens.begin(), tokens.end(), 0);
    tokens[9] = testing::kSeparator;
    testing::write_dataset(folder_.path(), tokens, 4);
  }

  // Opening the training split after byte or bytes at `offset` of a file were replaced.
  std::string error_after_patch(const std::string& name, std::size_t offset, std::string_view bytes) const {
    std::string content = read_file(folder_ / name);
    content.replace(offset, bytes.size(), bytes);
    write_file(folder_ / name, content);
    return open_error();
  }
  std::string error_after_json(std::string_view from, std::string_view to) const {
    std::string json = read_file(folder_ / "dataset.json");
    const std::size_t position = json.find(from);
    EXPECT_NE(position, std::string::npos) << from << " is not in " << json;
    json.replace(position, from.size(), to);
    write_file(folder_ / "dataset.json", json);
    return open_error();
  }
  std::string open_error() const {
    return error_of([&] { Dataset(folder_.path(), Split::kTrain); });
  }
  std::string path(std::string_view name) const { return (folder_ / name).string(); }

  testing::TemporaryFolder folder_;
};

TEST_F(DatasetTest, ShardsReadAsOneStream) {
  const Dataset dataset(folder_.path(), Split::kTrain);
  ASSERT_EQ(dataset.num_tokens(), 10);
  EXPECT_EQ(dataset.info().train.size(), 3u);
  for (std::int64_t begin = 0; begin <= 10; ++begin) {
    for (std::int64_t end = begin; end <= 10; ++end) {
      std::vector<std::int32_t> part(static_cast<std::size_t>(end - begin), -1);
      dataset.read(begin, part);
      for (std::int64_t i = begin; i < end; ++i) EXPECT_EQ(part[i - begin], i == 9 ? testing::kSeparator : i);
    }
  }
}

TEST_F(DatasetTest, MovesKeepTheShards) {
  Dataset first(folder_.path(), Split::kTrain);
  const Dataset second(std::move(first));
  EXPECT_EQ(testing::all_tokens(second).size(), 10u);
}

TEST_F(DatasetTest, SplitsAreSeparate) {
  EXPECT_EQ(testing::all_tokens(folder_.path(), Split::kValidation), std::vector{testing::kSeparator});
}

TEST_F(DatasetTest, ShardBytesAreTheLayoutOfLlmC) {
  const std::string bytes = read_file(folder_ / "train_0.bin");
  ASSERT_EQ(bytes.size(), 1024u + 4 * 2);
  std::string expected = int32_bytes(20240520) + int32_bytes(1) + int32_bytes(4);
  expected.resize(1024, '\0');
  expected += std::string("\0\0\1\0\2\0\3\0", 8);
  EXPECT_EQ(bytes, expected);
  const std::string last = read_file(folder_ / "train_2.bin");
  EXPECT_EQ(last.substr(1024), std::string("\10\0\0\1", 4));  // 8, then 256
}

TEST_F(DatasetTest, InfoSurvivesJson) {
  const DatasetInfo info = read_dataset_info(folder_.path());
  EXPECT_EQ(info.tokenizer, TokenizerId());
  EXPECT_EQ(info.vocab_size, 257);
  EXPECT_EQ(info.separator, 256);
  ASSERT_EQ(info.train.size(), 3u);
  EXPECT_EQ(info.train[2].file, "train_2.bin");
  EXPECT_EQ(info.train[2].num_tokens, 2);
  EXPECT_EQ(info.train[2].xxh64.size(), 16u);
  EXPECT_EQ(to_json(info), read_file(folder_ / "dataset.json"));
}

TEST_F(DatasetTest, MissingFolder) {
  const auto missing = folder_ / "nowhere";
  EXPECT_THAT(error_of([&] { Dataset(missing, Split::kTrain); }), HasSubstr(missing.string()));
}

TEST_F(DatasetTest, MissingInfo) {
  std::filesystem::remove(folder_ / "dataset.json");
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("dataset.json")), HasSubstr("mudelta prepare")));
}

TEST_F(DatasetTest, BrokenJson) {
  write_file(folder_ / "dataset.json", std::string(100'000, '['));
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("dataset.json")), HasSubstr("nested more than 64 deep")));
  write_file(folder_ / "dataset.json", "{\"version\": 1,");
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("dataset.json")), HasSubstr("parse error")));
}

TEST_F(DatasetTest, JsonWithoutAField) {
  EXPECT_THAT(error_after_json("separator", "separata"),
              AllOf(HasSubstr(path("dataset.json")), HasSubstr("'separator'")));
}

TEST_F(DatasetTest, JsonOfAnotherType) {
  EXPECT_THAT(error_after_json("257", "\"257\""), AllOf(HasSubstr(path("dataset.json")), HasSubstr("number")));
}

TEST_F(DatasetTest, JsonThatIsNoObject) {
  write_file(folder_ / "dataset.json", "[1, 2]");
  EXPECT_THAT(open_error(), HasSubstr(path("dataset.json")));
}

TEST_F(DatasetTest, JsonOfAnotherVersion) {
  EXPECT_THAT(error_after_json("\"version\": 1", "\"version\": 7"), AllOf(HasSubstr("7"), HasSubstr("expected 1")));
}

TEST_F(DatasetTest, ImpossibleVocabulary) { EXPECT_THAT(error_after_json("257", "0"), HasSubstr("vocab_size is 0")); }

TEST_F(DatasetTest, SeparatorOutsideTheVocabulary) {
  EXPECT_THAT(error_after_json("256", "257"), HasSubstr("separator is 257"));
}

TEST_F(DatasetTest, SplitWithoutShards) {
  DatasetInfo info = read_dataset_info(folder_.path());
  info.train.clear();
  write_file(folder_ / "dataset.json", to_json(info));
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("dataset.json")), HasSubstr("no train shard")));
}

TEST_F(DatasetTest, MissingShard) {
  std::filesystem::remove(folder_ / "train_1.bin");
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("train_1.bin")), HasSubstr("No such file")));
}

TEST_F(DatasetTest, ShardThatIsAFolder) {
  std::filesystem::remove(folder_ / "train_1.bin");
  std::filesystem::create_directory(folder_ / "train_1.bin");
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("train_1.bin")), HasSubstr("not a regular file")));
}

TEST_F(DatasetTest, TruncatedShard) {
  std::filesystem::resize_file(folder_ / "train_1.bin", 1024 + 7);
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("train_1.bin")), HasSubstr("1031"), HasSubstr("expected 1032")));
}

TEST_F(DatasetTest, ShardWithTrailingBytes) {
  std::filesystem::resize_file(folder_ / "train_1.bin", 1024 + 10);
  EXPECT_THAT(open_error(), AllOf(HasSubstr("1034"), HasSubstr("expected 1032")));
}

TEST_F(DatasetTest, ShardShorterThanItsHeader) {
  std::filesystem::resize_file(folder_ / "train_0.bin", 1023);
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("train_0.bin")), HasSubstr("1023"), HasSubstr("1024")));
}

TEST_F(DatasetTest, ShardOfNoBytes) {
  std::filesystem::resize_file(folder_ / "train_0.bin", 0);
  EXPECT_THAT(open_error(), AllOf(HasSubstr(path("train_0.bin")), HasSubstr("0 bytes")));
}

TEST_F(DatasetTest, ForeignMagic) {
  EXPECT_THAT(error_after_patch("train_0.bin", 0, int32_bytes(1234)),
              AllOf(HasSubstr(path("train_0.bin")), HasSubstr("1234"), HasSubstr("20240520")));
}

TEST_F(DatasetTest, AnotherShardVersion) {
  EXPECT_THAT(error_after_patch("train_0.bin", 4, int32_bytes(2)),
              AllOf(HasSubstr(path("train_0.bin")), HasSubstr("version 2"), HasSubstr("expected 1")));
}

TEST_F(DatasetTest, ShardOfNoTokens) {
  EXPECT_THAT(error_after_patch("train_0.bin", 8, int32_bytes(0)),
              AllOf(HasSubstr(path("train_0.bin")), HasSubstr("0 tokens")));
}

TEST_F(DatasetTest, NegativeNumberOfTokens) {
  EXPECT_THAT(error_after_patch("train_0.bin", 8, int32_bytes(-4)), HasSubstr("-4 tokens"));
}

TEST_F(DatasetTest, NumberOfTokensDisagreesWithInfo) {
  EXPECT_THAT(error_after_json("\"num_tokens\": 2", "\"num_tokens\": 3"),
              AllOf(HasSubstr(path("train_2.bin")), HasSubstr("2 tokens"), HasSubstr("expected 3")));
}

TEST_F(DatasetTest, TokenOutsideTheVocabulary) {
  ASSERT_EQ(error_after_patch("train_1.bin", 1024 + 2, std::string("\1\1", 2)), "no error was thrown");
  const Dataset dataset(folder_.path(), Split::kTrain);
  std::vector<std::int32_t> token(1);
  dataset.read(4, token);  // the tokens around the bad one can be read
  dataset.read(6, token);
  EXPECT_THAT(error_of([&] { testing::all_tokens(dataset); }),
              AllOf(HasSubstr(path("train_1.bin")), HasSubstr("257"), HasSubstr("below 257")));
}

TEST_F(DatasetTest, ShardsAreNamesInTheFolder) {
  for (const std::string name : {"../train_1.bin", "/train_1.bin", "a/train_1.bin", ".", "..", ""}) {
    DatasetInfo info = read_dataset_info(folder_.path());
    info.train[1].file = name;
    write_file(folder_ / "other.json", to_json(info));
    std::filesystem::copy_file(folder_ / "dataset.json", folder_ / "good.json");
    std::filesystem::rename(folder_ / "other.json", folder_ / "dataset.json");
    EXPECT_THAT(open_error(), AllOf(HasSubstr(path("dataset.json")), HasSubstr("\"" + name + "\""))) << name;
    std::filesystem::rename(folder_ / "good.json", folder_ / "dataset.json");
  }
}

TEST_F(DatasetTest, ChecksumThatIsNone) {
  const std::string xxh64 = read_dataset_info(folder_.path()).train[1].xxh64;
  EXPECT_THAT(error_after_json(xxh64, xxh64.substr(1) + "G"), HasSubstr("expected 16 hexadecimal digits"));
}

// Under a mapping these were SIGBUS, or zeros within the last page.
TEST_F(DatasetTest, ShardCutShortWhileInUse) {
  const Dataset dataset(folder_.path(), Split::kTrain);
  EXPECT_EQ(testing::all_tokens(dataset).size(), 10u);
  for (const std::uintmax_t size : {std::uintmax_t{1031}, std::uintmax_t{1024}, std::uintmax_t{0}}) {
    std::filesystem::resize_file(folder_ / "train_1.bin", size);
    EXPECT_THAT(error_of([&] { testing::all_tokens(dataset); }),
                AllOf(HasSubstr(path("train_1.bin")), HasSubstr("cut short"), HasSubstr("1032 bytes")));
  }
}

TEST_F(DatasetTest, MoreShardsThanFilesMayBeOpen) {
  const auto folder = folder_ / "many";
  std::vector<std::int32_t> tokens(200);
  std::iota(tokens.begin(), tokens.end(), 0);
  testing::write_dataset(folder, tokens, 1);
  rlimit old_limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old_limit), 0);
  const rlimit few{100, old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const std::string error = error_of([&] {
    const Dataset dataset(folder, Split::kTrain);
    EXPECT_EQ(testing::all_tokens(dataset), tokens);
    EXPECT_EQ(testing::all_tokens(dataset), tokens);
  });
  setrlimit(RLIMIT_NOFILE, &old_limit);
  EXPECT_EQ(error, "no error was thrown");
}

class VerifyShard : public DatasetTest {
 protected:
  // Of train_1.bin, against what dataset.json says.
  std::string error() const {
    const DatasetInfo info = read_dataset_info(folder_.path());
    return error_of([&] { verify_shard(folder_.path(), info, info.train[1], {}); });
  }
};

TEST_F(VerifyShard, AGoodOneIsReadWhole) {
  const DatasetInfo info = read_dataset_info(folder_.path());
  std::int64_t num_bytes = 0;
  for (const auto& shard : info.train) {
    verify_shard(folder_.path(), info, shard, [&](std::int64_t part) { num_bytes += part; });
  }
  EXPECT_EQ(num_bytes, 3 * 1024 + 10 * 2);
}

TEST_F(VerifyShard, AFlippedBitIsFound) {
  const std::string good = read_file(folder_ / "train_1.bin");
  for (const std::size_t offset : {std::size_t{500}, std::size_t{1024}, good.size() - 2}) {
    std::string bad = good;
    bad[offset] ^= 1;
    write_file(folder_ / "train_1.bin", bad);
    EXPECT_THAT(error(), AllOf(HasSubstr(path("train_1.bin")), HasSubstr("is damaged"), HasSubstr("xxh64")))
        << "offset " << offset;
  }
}

TEST_F(VerifyShard, SizeAndHeaderAreChecked) {
  std::filesystem::resize_file(folder_ / "train_1.bin", 1024 + 7);
  EXPECT_THAT(error(), AllOf(HasSubstr(path("train_1.bin")), HasSubstr("expected 1032")));
  std::filesystem::remove(folder_ / "train_1.bin");
  EXPECT_THAT(error(), HasSubstr("No such file"));
}

TEST_F(VerifyShard, IdsAreChecked) {
  DatasetInfo info = read_dataset_info(folder_.path());
  info.vocab_size = 9;
  verify_shard(folder_.path(), info, info.train[1], {});
  EXPECT_THAT(error_of([&] { verify_shard(folder_.path(), info, info.train[2], {}); }),
              AllOf(HasSubstr(path("train_2.bin")), HasSubstr("token id 256"), HasSubstr("below 9")));
}

}  // namespace
}  // namespace mudelta
