#include "data/adopt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "data/foreign_tokens.h"
#include "tests/data/support.h"

namespace mudelta {
namespace {

using testing::all_tokens;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::kSeparator;
using testing::names_in;
using testing::read_file;
using testing::write_file;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Of Megatron's .idx, field by field, so that each can be wrong.
struct Index {
  std::string magic{"MMIDIDX\0\0", 9};
  std::uint64_t version = 1;
  std::uint8_t dtype = 8;
  std::vector<std::int32_t> lengths;
  std::vector<std::int64_t> offsets, documents;
  std::uint64_t num_sequences = 0, num_documents = 0;
  std::string modes;

  std::string text() const {
    return magic + bytes_of(std::vector{version}) + bytes_of(std::vector{dtype}) +
           bytes_of(std::vector{num_sequences, num_documents}) + bytes_of(lengths) + bytes_of(offsets) +
           bytes_of(documents) + modes;
  }
};

class AdoptTest : public ::testing::Test {
 protected:
  // Documents that begin with the separator, of 1, 2, ... `count` other tokens.
  static std::vector<std::int32_t> numbered_documents(int count, int first = 0) {
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < count; ++i) {
      tokens.push_back(kSeparator);
      for (int t = 0; t <= i; ++t) tokens.push_back((first + i + t) % 256);
    }
    return tokens;
  }

  std::filesystem::path llm_c(const std::string& name, const std::vector<std::int32_t>& tokens,
                              const ShardLayout& layout = kShard16) const {
    ShardWriter writer(folder_ / name, layout);
    writer.append(tokens);
    writer.commit();
    return folder_ / name;
  }

  // Sequences, and how many of them each document has.
  std::filesystem::path megatron(const std::string& name, const std::vector<std::vector<std::int32_t>>& sequences,
                                 const std::vector<int>& documents, bool wide = false) {
    index_ = {};
    index_.dtype = wide ? 4 : 8;
    std::string bin;
    for (const auto& sequence : sequences) {
      index_.offsets.push_back(std::ssize(bin));
      index_.lengths.push_back(static_cast<std::int32_t>(sequence.size()));
      bin += wide ? bytes_of(sequence) : bytes_of(std::vector<std::uint16_t>(sequence.begin(), sequence.end()));
    }
    index_.documents.push_back(0);
    for (const int count : documents) index_.documents.push_back(index_.documents.back() + count);
    index_.num_sequences = sequences.size();
    index_.num_documents = index_.documents.size();
    write_file(folder_ / (name + ".bin"), bin);
    return write_file(folder_ / (name + ".idx"), index_.text());
  }

  AdoptOptions options(const std::vector<std::filesystem::path>& train,
                       const std::vector<std::filesystem::path>& validation = {}) const {
    return {.train = train, .validation = validation, .out = out_, .tokenizer = "byte", .validation_fraction = 0.2};
  }

  void verify() const {
    const DatasetInfo info = read_dataset_info(out_);
    std::int64_t expected = 0, read = 0;
    for (const auto& shard : all_shards(info)) {
      expected += num_bytes_of(info, shard);
      verify_shard(out_, info, shard, [&](std::int64_t bytes) { read += bytes; });
    }
    EXPECT_EQ(read, expected);
  }

  std::string refusal(const AdoptOptions& options) const {
    std::string error = error_of([&] { adopt(options, {}); });
    EXPECT_FALSE(std::filesystem::exists(out_)) << error;
    return error;
  }

  testing::TemporaryFolder folder_;
  std::filesystem::path out_ = folder_ / "out";
  Index index_;  // of the last file
};

TEST_F(AdoptTest, LlmCFilesOfBothVersions) {
  const auto first = numbered_documents(5), second = numbered_documents(7, 30), third = numbered_documents(2, 60);
  std::vector<std::int64_t> done;
  const AdoptReport report =
      adopt(options({llm_c("a.bin", first), llm_c("b.bin", second, kShard32)}, {llm_c("c.bin", third)}),
            [&](std::int64_t bytes, std::int64_t total) {
              done.push_back(bytes);
              EXPECT_LE(bytes, total);
              EXPECT_EQ(total, 2 * std::ssize(first) + 4 * std::ssize(second) + 2 * std::ssize(third));
            });
  EXPECT_EQ(done.size(), 3u);
  EXPECT_THAT(names_in(out_), ElementsAre("dataset.json"));
  auto both = first;
  both.insert(both.end(), second.begin(), second.end());
  EXPECT_EQ(all_tokens(out_, Split::kTrain), both);
  EXPECT_EQ(all_tokens(out_, Split::kValidation), third);
  EXPECT_EQ(report.train_tokens, std::ssize(both));
  EXPECT_EQ(report.validation_tokens, std::ssize(third));
  EXPECT_EQ(report.num_separators, 14);
  verify();

  const Dataset train(out_, Split::kTrain);  // across the border of two layouts
  std::vector<std::int32_t> middle(10);
  train.read(std::ssize(first) - 5, middle);
  EXPECT_TRUE(std::ranges::equal(middle, std::span(both).subspan(first.size() - 5, 10)));
}

TEST_F(AdoptTest, MegatronDocumentsEndWithTheSeparator) {
  for (const bool wide : {false, true}) {
    const auto path = megatron("a", {{1, 2, kSeparator}, {3}, {}, {4, kSeparator}, {5, 6, 7, kSeparator}, {kSeparator}},
                               {1, 3, 0, 1, 1}, wide);
    std::filesystem::remove_all(out_);
    adopt(options({path}), {});
    EXPECT_THAT(all_tokens(out_, Split::kTrain), ElementsAre(1, 2, kSeparator, 3, 4, kSeparator, 5, 6, 7, kSeparator));
    EXPECT_THAT(all_tokens(out_, Split::kValidation),
                ElementsAre(kSeparator));  // a fifth of 11 tokens begins before it
    verify();
  }
  index_.modes = std::string(6, '\0');  // of a multimodal set
  write_file(folder_ / "a.idx", index_.text());
  EXPECT_EQ(open_foreign_tokens(folder_ / "a.idx").document_ends, (std::vector<std::int64_t>{3, 6, 10, 11}));
}

TEST_F(AdoptTest, TheLastDocumentsValidate) {
  const auto tokens = numbered_documents(20);
  const auto whole = llm_c("a.bin", tokens);
  for (const double fraction : {1e-9, 0.01, 0.2, 0.5, 0.999}) {
    AdoptOptions options = this->options({whole});
    options.validation_fraction = fraction;
    std::filesystem::remove_all(out_);
    adopt(options, {});
    auto both = all_tokens(out_, Split::kTrain);
    const auto validation = all_tokens(out_, Split::kValidation);
    EXPECT_EQ(validation.front(), kSeparator);
    const auto wanted = fraction * static_cast<double>(tokens.size());
    EXPECT_LE(std::ssize(validation), std::max(wanted + 1, 21.0));  // no document that begins before, but for the last
    EXPECT_GE(std::ssize(validation), wanted - 21) << "nor one less";
    both.insert(both.end(), validation.begin(), validation.end());
    EXPECT_EQ(both, tokens);
    verify();
  }
}

TEST_F(AdoptTest, TheLastFilesValidate) {
  const auto one = llm_c("a.bin", numbered_documents(10)), two = llm_c("b.bin", numbered_documents(1)),
             three = llm_c("c.bin", numbered_documents(10));
  AdoptOptions options = this->options({one, two, three});
  const auto tokens_with = [&](double fraction) {
    options.validation_fraction = fraction;
    std::filesystem::remove_all(out_);
    return adopt(options, {}).validation_tokens;
  };
  EXPECT_EQ(tokens_with(0.01), 11);        // the last document
  EXPECT_EQ(tokens_with(65.0 / 132), 65);  // the last file
  EXPECT_EQ(tokens_with(66.0 / 132), 65);  // the second cannot be cut
  EXPECT_EQ(tokens_with(67.0 / 132), 67);  // it begins just there
  EXPECT_EQ(tokens_with(1 - 1.0 / 132), 132 - 2);
}

// What is damaged: the file is named, and nothing is left in `out`.

TEST_F(AdoptTest, DamagedIndex) {
  const auto path = megatron("a", {{1, 2, kSeparator}, {3, kSeparator}}, {1, 1});
  const Index whole = index_;
  const auto refused = [&](const Index& index, const std::string& expected) {
    write_file(path, index.text());
    EXPECT_THAT(refusal(options({path})), AllOf(HasSubstr(path.string()), HasSubstr(expected)));
  };
  const auto damaged = [&](auto damage) {
    Index index = whole;
    damage(index);
    return index;
  };
  refused(damaged([](Index& i) { i.magic[3] = 'x'; }), "does not begin with MMIDIDX");
  refused(damaged([](Index& i) { i.version = 2; }), "version is 2, expected 1");
  refused(damaged([](Index& i) { i.dtype = 5; }), "the type of its tokens is 5, expected 8");
  refused(damaged([](Index& i) { i.num_sequences = 3; }), "expected 94 for 3 sequences");
  refused(damaged([](Index& i) { i.num_documents = 4; }), "expected 90 for 2 sequences and 4 document boundaries");
  for (const std::uint64_t count : {1ull << 40, 1ull << 61, ~0ull}) {
    refused(damaged([&](Index& i) { i.num_sequences = count; }), "sequences, expected at most");
    refused(damaged([&](Index& i) { i.num_documents = count; }), "documents, expected at most");
  }
  refused(damaged([](Index& i) { i.num_documents = 0, i.documents.clear(); }), "no document boundary");
  refused(damaged([](Index& i) { i.lengths[0] = -3; }), "sequence 0 has -3 tokens");
  refused(damaged([](Index& i) { i.lengths[0] = 2; }), "sequence 1 begins at byte 6, expected 4");
  refused(damaged([](Index& i) { i.lengths[1] = 1; }), "its sequences have 4 tokens");
  refused(damaged([](Index& i) { i.lengths[1] = 3; }), "sequence 1 ends at token 6, expected at most 5");
  refused(damaged([](Index& i) { i.offsets[1] = 1ll << 60; }), "sequence 1 begins at byte 1152921504606846976");
  refused(damaged([](Index& i) { i.documents[0] = 1; }), "first document begins at sequence 1");
  refused(damaged([](Index& i) { i.documents[1] = 3; }), "expected an end from there to 2");
  refused(damaged([](Index& i) { i.documents = {0, 2, 1}; }), "expected an end from there to 2");
  refused(damaged([](Index& i) { i.documents[2] = 1; }), "expected at the last");
  for (std::size_t size = 0; size < whole.text().size(); ++size) {
    write_file(path, whole.text().substr(0, size));
    EXPECT_THAT(refusal(options({path})), HasSubstr(path.string())) << size;
  }
  write_file(path, whole.text());
  for (const char* bin : {"", "1", "12345678", "123456789012"}) {
    write_file(folder_ / "a.bin", bin);
    EXPECT_THAT(refusal(options({path})), HasSubstr((folder_ / "a.bin").string())) << bin;
  }
}

TEST_F(AdoptTest, WhatIsNeither) {
  const auto path = megatron("a", {{1, kSeparator}}, {1});
  EXPECT_THAT(refusal(options({folder_ / "a.bin"})), HasSubstr("name " + path.string() + " instead"));
  EXPECT_THAT(refusal(options({write_file(folder_ / "b.bin", std::string(2000, 'x'))})), HasSubstr("magic number"));
  EXPECT_THAT(refusal(options({write_file(folder_ / "b.bin", "x")})), HasSubstr("has 1 bytes"));
  std::string cut = read_file(llm_c("c.bin", numbered_documents(3)));
  cut.resize(cut.size() - 1);
  EXPECT_THAT(refusal(options({write_file(folder_ / "c.bin", cut)})), HasSubstr("for the 9 tokens of its header"));
}

TEST_F(AdoptTest, TokensOfAnotherTokenizer) {
  EXPECT_THAT(refusal(options({llm_c("a.bin", {kSeparator, 1, 300, kSeparator})})),
              HasSubstr("token id 300, expected ids below 257"));
  EXPECT_THAT(refusal(options({llm_c("a.bin", {1, 2, 3})}, {llm_c("b.bin", {1, 2})})),
              HasSubstr("holds no separator 256"));
  EXPECT_THAT(refusal(options({llm_c("a.bin", {kSeparator, 1, 2, 3})})), HasSubstr("one document only"));
  const auto path = megatron("c", {{1, kSeparator}, {2}, {3, kSeparator}}, {1, 1, 1});
  EXPECT_THAT(refusal(options({path}, {path})), HasSubstr("document 1 ends with token 2, expected the separator 256"));
}

TEST_F(AdoptTest, AFileThatChangesIsNoticed) {
  const auto path = llm_c("a.bin", numbered_documents(20));
  adopt(options({path}), {});
  const DatasetInfo info = read_dataset_info(out_);
  llm_c("a.bin", numbered_documents(20, 1));
  EXPECT_THAT(error_of([&] { verify_shard(out_, info, info.train[0], {}); }),
              AllOf(HasSubstr(path.string()), HasSubstr("damaged")));
  llm_c("a.bin", numbered_documents(3));
  EXPECT_THAT(error_of([&] { Dataset(out_, Split::kTrain); }), HasSubstr("holds 9 tokens, expected at least"));
  std::filesystem::remove(path);
  EXPECT_THAT(error_of([&] { Dataset(out_, Split::kTrain); }), HasSubstr(path.string()));
}

}  // namespace
}  // namespace mudelta
