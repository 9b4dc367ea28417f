#include "data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <numeric>

#include "tests/data/support.h"
#include "tests/data/tokenizers/small_tokenizer.h"

namespace mudelta {
namespace {

using testing::all_tokens;
using ::testing::AllOf;
using testing::documents_of;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::names_in;
using testing::read_file;
using testing::write_file;

std::string numbered_documents(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += fmt::format("document {}\n\n", i);
  return text;
}

class PrepareTest : public ::testing::Test {
 protected:
  PrepareOptions options(const std::vector<std::filesystem::path>& inputs) const {
    PrepareOptions options;
    options.text.files = inputs;
    options.out = out_;
    return options;
  }
  PrepareReport run(const PrepareOptions& options) { return prepare(options, {}); }
  std::string error(const PrepareOptions& options) {
    return error_of([&] { prepare(options, {}); });
  }
  std::vector<std::string> documents(Split split) const { return documents_of(all_tokens(out_, split)); }
  static void verify(const std::filesystem::path& folder) {
    const DatasetInfo info = read_dataset_info(folder);
    for (const auto& shards : {info.train, info.validation}) {
      for (const auto& shard : shards) verify_shard(folder, info, shard, {});
    }
  }
  // Documents of both splits.
  std::vector<std::string> all_documents() const {
    auto all = documents(Split::kTrain);
    std::ranges::copy(documents(Split::kValidation), std::back_inserter(all));
    return all;
  }

  testing::TemporaryFolder folder_;
  std::filesystem::path out_ = folder_ / "out";
};

TEST_F(PrepareTest, WritesADataset) {
  const auto input = write_file(folder_ / "a.txt", numbered_documents(200));
  PrepareOptions options = this->options({input});
  options.validation_fraction = 0.2;
  const PrepareReport report = run(options);

  EXPECT_THAT(names_in(out_), ElementsAre("dataset.json", "train_000000.bin", "validation_000000.bin"));
  const Dataset train(out_, Split::kTrain), validation(out_, Split::kValidation);
  verify(out_);
  EXPECT_EQ(train.info().tokenizer, TokenizerId());
  EXPECT_EQ(train.info().vocab_size, 257);
  EXPECT_EQ(report.num_documents, 200);
  EXPECT_EQ(report.train_tokens, train.num_tokens());
  EXPECT_EQ(report.validation_tokens, validation.num_tokens());
  EXPECT_EQ(report.num_shards, 2);

  const auto validating = documents(Split::kValidation);
  EXPECT_NEAR(static_cast<double>(validating.size()), 40, 20);
  auto all = all_documents();
  EXPECT_EQ(all.size(), 200u);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(std::ranges::count(all, fmt::format("document {}", i)), 1);
  EXPECT_TRUE(
      std::ranges::is_sorted(validating, {}, [](const std::string& text) { return std::stoi(text.substr(9)); }));
}

TEST_F(PrepareTest, EveryDocumentStartsWithASeparator) {
  run(options({write_file(folder_ / "a.txt", "ab\n\n\n\ncde")}));
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    const auto tokens = all_tokens(out_, split);
    EXPECT_EQ(tokens.front(), testing::kSeparator);
    EXPECT_EQ(std::ranges::count(tokens, testing::kSeparator), 1);
  }
  EXPECT_THAT(all_documents(), ::testing::UnorderedElementsAre("ab", "cde"));
}

TEST_F(PrepareTest, AgainGivesTheSameBytes) {
  const auto input = write_file(folder_ / "a.txt", numbered_documents(100));
  PrepareOptions first = options({input}), second = first, other_seed = first;
  first.validation_fraction = second.validation_fraction = other_seed.validation_fraction = 0.3;
  second.out = folder_ / "second";
  other_seed.out = folder_ / "third";
  other_seed.seed = 2;
  run(first);
  run(second);
  run(other_seed);
  for (const std::string& name : names_in(first.out)) {
    EXPECT_EQ(read_file(first.out / name), read_file(second.out / name)) << name;
  }
  EXPECT_NE(all_tokens(first.out, Split::kValidation), all_tokens(other_seed.out, Split::kValidation));
}

TEST_F(PrepareTest, EachFileEndsADocument) {
  run(options({write_file(folder_ / "a.txt", "one\n\ntw"), write_file(folder_ / "b.txt", "o\n\nthree")}));
  EXPECT_THAT(all_documents(), ::testing::UnorderedElementsAre("one", "tw", "o", "three"));
}

TEST_F(PrepareTest, AnotherSeparator) {
  PrepareOptions options = this->options({write_file(folder_ / "a.txt", "a\n\nb<|end|>c<|end|>")});
  options.text.document_separator = "<|end|>";
  run(options);
  EXPECT_THAT(all_documents(), ::testing::UnorderedElementsAre("a\n\nb", "c"));
}

TEST_F(PrepareTest, ManyShards) {
  const auto input = write_file(folder_ / "a.txt", numbered_documents(100));
  PrepareOptions whole = options({input}), cut = whole;
  whole.out = folder_ / "whole";
  cut.shard_tokens = 101;
  run(whole);
  const PrepareReport report = run(cut);

  const DatasetInfo info = read_dataset_info(out_);
  EXPECT_GT(info.train.size(), 10u);
  EXPECT_EQ(report.num_shards, static_cast<std::int64_t>(info.train.size() + info.validation.size()));
  EXPECT_EQ(info.train[3].file, "train_000003.bin");
  for (std::size_t i = 0; i + 1 < info.train.size(); ++i) EXPECT_EQ(info.train[i].num_tokens, 101);
  EXPECT_EQ(all_tokens(out_, Split::kTrain), all_tokens(whole.out, Split::kTrain));
  verify(out_);
}

TEST_F(PrepareTest, ShardsThatEndWithTheText) {
  PrepareOptions options = this->options({write_file(folder_ / "a.txt", "abc\n\nabc")});
  options.shard_tokens = 2;  // a separator and three bytes: two shards a split, and no empty third
  EXPECT_EQ(run(options).num_shards, 4);
  EXPECT_THAT(all_documents(), ElementsAre("abc", "abc"));
}

// Documents are encoded in pieces of 1 MiB: lengths around one and two pieces, and a separator across the border.
TEST_F(PrepareTest, DocumentsLongerThanAPiece) {
  constexpr std::size_t kPiece = 1 << 20;
  std::vector<std::string> expected;
  for (const std::size_t length : {kPiece - 1, kPiece, kPiece + 1, 2 * kPiece, std::size_t{3}}) {
    std::string document(length, 'x');
    for (std::size_t i = 0; i < length; ++i) document[i] = static_cast<char>('a' + i * i % 26);
    expected.push_back(document);
  }
  const std::string text = fmt::format("{}", fmt::join(expected, "\n\n"));
  const PrepareReport report = run(options({write_file(folder_ / "a.txt", text)}));
  EXPECT_EQ(report.num_documents, 5);
  EXPECT_THAT(all_documents(), ::testing::UnorderedElementsAreArray(expected));
}

// Carriage returns stay in the text; they do not hide a separator.
TEST_F(PrepareTest, CrlfLineEnds) {
  const PrepareReport report =
      run(options({write_file(folder_ / "a.txt", "one\r\nline\r\n\r\ntwo"), write_file(folder_ / "b.txt", "three")}));
  EXPECT_EQ(report.num_crlf_inputs, 1);
  EXPECT_THAT(all_documents(), ::testing::UnorderedElementsAre("one\r\nline", "two", "three"));
}

TEST_F(PrepareTest, EmptyInputsAreCounted) {
  const auto empty = write_file(folder_ / "empty.txt", "");
  const PrepareReport report = run(options({empty, write_file(folder_ / "a.txt", "a\n\nbcd\n\nef"), empty}));
  EXPECT_EQ(report.num_inputs, 3);
  EXPECT_EQ(report.num_empty_inputs, 2);
  EXPECT_EQ(report.num_documents, 3);
  EXPECT_EQ(report.median_document_bytes, 2);
}

// More inputs than files may be open, or mapped.
TEST_F(PrepareTest, ManySmallInputs) {
  const auto input = write_file(folder_ / "a.txt", "ab");
  rlimit old_limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old_limit), 0);
  const rlimit few{50, old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const PrepareReport report = run(options(std::vector<std::filesystem::path>(500, input)));
  setrlimit(RLIMIT_NOFILE, &old_limit);
  EXPECT_EQ(report.num_documents, 500);
}

TEST_F(PrepareTest, ALoneDocumentLongerThanAPiece) {
  std::string text(5 << 20, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i * i % 26);
  PrepareOptions options = this->options({write_file(folder_ / "a.txt", text)});
  for (const double fraction : {0.2, 0.25, 1e-9}) {  // the middle at the end of a block, within one, in the last
    options.validation_fraction = fraction;
    options.out = folder_ / fmt::format("out{}", fraction);
    run(options);
    const auto train = documents_of(all_tokens(options.out, Split::kTrain));
    const auto validation = documents_of(all_tokens(options.out, Split::kValidation));
    ASSERT_EQ(train.size(), 1u);
    ASSERT_EQ(validation.size(), 1u);
    EXPECT_EQ(validation[0].size(), std::max<std::size_t>(1, static_cast<std::size_t>(fraction * (5 << 20))));
    EXPECT_TRUE(train[0] + validation[0] == text);
  }
}

TEST_F(PrepareTest, ALoneDocumentGivesItsTail) {
  PrepareOptions options = this->options({write_file(folder_ / "a.txt", "0123456789")});
  options.validation_fraction = 0.3;
  EXPECT_EQ(run(options).num_documents, 1);
  EXPECT_THAT(documents(Split::kTrain), ElementsAre("0123456"));
  EXPECT_THAT(documents(Split::kValidation), ElementsAre("789"));
}

TEST_F(PrepareTest, ALoneDocumentGivesBothSplitsAByte) {
  PrepareOptions options = this->options({write_file(folder_ / "a.txt", "ab\n\n")});
  for (const double fraction : {0.001, 0.999}) {
    options.validation_fraction = fraction;
    options.out = folder_ / fmt::format("out{}", fraction);
    run(options);
    EXPECT_THAT(documents_of(all_tokens(options.out, Split::kTrain)), ElementsAre("a"));
    EXPECT_THAT(documents_of(all_tokens(options.out, Split::kValidation)), ElementsAre("b"));
  }
}

TEST_F(PrepareTest, ProgressRisesToTheEndOfEachStage) {
  const auto input = write_file(folder_ / "a.txt", std::string(3 << 20, 'x') + "\n\n" + numbered_documents(1000));
  std::vector<std::pair<PrepareStage, std::int64_t>> done;
  std::int64_t total = 0;
  prepare(options({input}), [&](PrepareStage stage, std::int64_t bytes_done, std::int64_t bytes_total) {
    done.emplace_back(stage, bytes_done);
    total = bytes_total;
  });
  EXPECT_EQ(done.size(), 8u);
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_EQ(total, std::filesystem::file_size(input));
  EXPECT_THAT(done, ::testing::Contains(std::pair(PrepareStage::kLook, total)));
  EXPECT_EQ(done.back(), std::pair(PrepareStage::kWrite, total));
}

TEST_F(PrepareTest, JsonLinesAreDocuments) {
  const auto input = write_file(folder_ / "a.jsonl", "{\"body\": \"a\\n\\nb\"}\n{}\n{\"body\": \"\\uD83D\\uDE00\"}\n");
  PrepareOptions options = this->options({input, write_file(folder_ / "b.txt", "c\n\nd")});
  options.text.field = "body";
  const PrepareReport report = run(options);
  EXPECT_THAT(all_documents(), ::testing::UnorderedElementsAre("a\n\nb", "\U0001f600", "c", "d"));
  EXPECT_EQ(report.num_json_lines_inputs, 1);
  EXPECT_EQ(report.bad_lines.count, 1);  // though it was read twice
  EXPECT_EQ(report.num_documents, 4);
}

// Bad input: an Error that names the thing, and nothing left behind.

TEST_F(PrepareTest, MissingInput) {
  const auto input = write_file(folder_ / "a.txt", "one\n\ntwo");
  EXPECT_THAT(error(options({input, folder_ / "missing.txt"})),
              AllOf(HasSubstr((folder_ / "missing.txt").string()), HasSubstr("No such file")));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(PrepareTest, InputThatIsAFolder) {
  EXPECT_THAT(error(options({folder_.path()})), HasSubstr("not a regular file"));
}

TEST_F(PrepareTest, EmptyInput) {
  const auto input = write_file(folder_ / "empty.txt", "");
  EXPECT_THAT(error(options({input})), AllOf(HasSubstr(input.string()), HasSubstr("empty")));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(PrepareTest, InputThatIsAPipe) {
  const auto pipe = folder_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(error(options({pipe})), AllOf(HasSubstr(pipe.string()), HasSubstr("not a regular file but a pipe")));
}

TEST_F(PrepareTest, InputThatIsNoText) {
  const auto text = write_file(folder_ / "a.txt", numbered_documents(10));
  const auto packed = write_file(folder_ / "b.txt", std::string("\xfd"
                                                                "7zXZ\0 compressed",
                                                                17));
  EXPECT_THAT(error(options({text, packed})),
              AllOf(HasSubstr("input " + packed.string()), HasSubstr("xz -dk"), ::testing::Not(HasSubstr("either"))));
  EXPECT_THAT(error(options({text, packed, packed, packed})), HasSubstr("; 2 other inputs are no text either"));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

// Under a mapping this was SIGBUS, and what had been written stayed.
TEST_F(PrepareTest, InputCutShortWhileInUse) {
  const auto input = folder_ / "a.txt";
  for (const bool while_writing : {false, true}) {
    write_file(input, std::string(3 << 20, 'x') + numbered_documents(10));
    const auto cut = [&](PrepareStage stage, std::int64_t, std::int64_t) {
      if (!while_writing || stage == PrepareStage::kWrite) std::filesystem::resize_file(input, 100);
    };
    EXPECT_THAT(error_of([&] { prepare(options({input}), cut); }),
                AllOf(HasSubstr(input.string()), HasSubstr("cut short")));
    EXPECT_FALSE(std::filesystem::exists(out_));
  }
}

TEST_F(PrepareTest, InputThatGrowsBetweenReadings) {
  const auto input = write_file(folder_ / "a.txt", numbered_documents(10));
  const auto grow = [&](PrepareStage stage, std::int64_t, std::int64_t) {
    if (stage == PrepareStage::kLook) write_file(input, numbered_documents(11));
  };
  EXPECT_THAT(error_of([&] { prepare(options({input}), grow); }),
              AllOf(HasSubstr(input.string()), HasSubstr("has changed")));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(PrepareTest, NoInput) { EXPECT_THAT(error(options({})), HasSubstr("no input file")); }

TEST_F(PrepareTest, InputOfSeparatorsOnly) {
  EXPECT_THAT(error(options({write_file(folder_ / "a.txt", "\n\n\n\n")})), HasSubstr("only separators"));
}

TEST_F(PrepareTest, ALoneDocumentOfOneByte) {
  EXPECT_THAT(error(options({write_file(folder_ / "a.txt", "x\n\n")})), HasSubstr("1 byte"));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(PrepareTest, OutputThatHoldsADataset) {
  const PrepareOptions options = this->options({write_file(folder_ / "a.txt", numbered_documents(10))});
  run(options);
  const auto before = all_tokens(out_, Split::kTrain);
  EXPECT_THAT(error(options), AllOf(HasSubstr(out_.string()), HasSubstr("holds a data set already")));
  EXPECT_EQ(all_tokens(out_, Split::kTrain), before);
}

TEST_F(PrepareTest, OutputBelowAFile) {
  const auto input = write_file(folder_ / "a.txt", numbered_documents(10));
  PrepareOptions options = this->options({input});
  options.out = input / "data";
  EXPECT_THAT(error(options), AllOf(HasSubstr("cannot create"), HasSubstr(input.string())));
  options.out = input;
  EXPECT_THAT(error(options), HasSubstr("cannot"));
  EXPECT_EQ(read_file(input), numbered_documents(10));
}

TEST_F(PrepareTest, OptionsOutOfRange) {
  PrepareOptions options = this->options({write_file(folder_ / "a.txt", numbered_documents(10))});
  for (const double fraction : {0.0, 1.0, -0.1, std::nan("")}) {
    options.validation_fraction = fraction;
    EXPECT_THAT(error(options), HasSubstr("validation fraction"));
  }
  options.validation_fraction = 0.5;
  for (const std::int64_t shard_tokens : {std::int64_t{0}, std::int64_t{1} << 31}) {
    options.shard_tokens = shard_tokens;
    EXPECT_THAT(error(options), HasSubstr("tokens per shard"));
  }
  options.shard_tokens = 100;
  options.tokenizer = "bpe";
  EXPECT_THAT(error(options), HasSubstr("bpe"));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(PrepareTest, TokenizerOfAFile) {
  const std::filesystem::path file = folder_ / "mine.json";
  write_file(file, testing::byte_level_json({{"o", "n"}, {" ", "on"}}).dump());
  PrepareOptions options = this->options({folder_ / "in.txt"});
  write_file(options.text.files[0], "on on\n\non\xff\n\non on on\n\n");
  options.tokenizer = file.string();
  options.validation_fraction = 0.3;
  run(options);
  const DatasetInfo info = read_dataset_info(out_);
  EXPECT_EQ(to_string(info.tokenizer), fmt::format("tokenizer.json:{}:<|endoftext|>", info.tokenizer.xxh64));
  EXPECT_EQ(info.vocab_size, 259);
  EXPECT_EQ(info.separator, 258);
  EXPECT_EQ(read_file(out_ / "tokenizer.json"), read_file(file));
  EXPECT_EQ(read_dataset_info(out_).tokenizer, info.tokenizer);
  std::vector<std::int32_t> tokens = all_tokens(out_, Split::kTrain);
  std::ranges::copy(all_tokens(out_, Split::kValidation), std::back_inserter(tokens));
  EXPECT_THAT(tokens, ::testing::UnorderedElementsAre(258, 256, 257, 258, 256, 255, 258, 256, 257, 257));
  const Dataset train(out_, Split::kTrain), validation(out_, Split::kValidation);
  EXPECT_EQ(train.num_bytes(all_tokens(train)) + validation.num_bytes(all_tokens(validation)), 5 + 3 + 8);
  verify(out_);
}

TEST_F(PrepareTest, ADocumentIsEncodedWhole) {
  const std::filesystem::path file = folder_ / "mine.json";
  write_file(file, testing::byte_level_json({{"a", "b"}}).dump());
  PrepareOptions options = this->options({folder_ / "in.txt"});
  // A pair at each place where the text is read block by block, and a character where a lone document is cut.
  std::string text;
  while (text.size() < (2 << 20) + 2) text += text.size() % 2 == 1 ? "ab" : "cab";
  write_file(options.text.files[0], text + "\u00e9");
  options.tokenizer = file.string();
  options.text.document_separator = "";
  options.validation_fraction = 1.0 / static_cast<double>(text.size() + 2);
  run(options);
  const std::vector<std::int32_t> tokens = all_tokens(out_, Split::kTrain);
  EXPECT_EQ(std::ranges::count(tokens, 'a'), 0);
  EXPECT_EQ(Dataset(out_, Split::kTrain).tokenizer().tokenizer->decode(tokens), text);
  EXPECT_THAT(all_tokens(out_, Split::kValidation), ElementsAre(257, 0xc3, 0xa9));
}

TEST_F(PrepareTest, BytesOfTextAreTrueOfATokenizerThatChangesIt) {
  const std::filesystem::path file = folder_ / "mine.json";
  nlohmann::json json = testing::byte_level_json({});
  json["normalizer"] = {{"type", "NFC"}};
  write_file(file, json.dump());
  PrepareOptions options = this->options({folder_ / "in.txt"});
  write_file(options.text.files[0], "e\u0301\n\ne\u0301");
  options.tokenizer = file.string();
  options.validation_fraction = 0.5;
  run(options);
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    const Dataset dataset(out_, split);
    EXPECT_THAT(all_tokens(dataset), ElementsAre(256, 0xc3, 0xa9));
    EXPECT_EQ(dataset.num_bytes(all_tokens(dataset)), 3);
  }
}

TEST_F(PrepareTest, IdsBeyond16BitsAreKeptIn32) {
  const std::filesystem::path file = folder_ / "mine.json";
  nlohmann::json json = testing::byte_level_json({});
  json["added_tokens"].push_back(json["added_tokens"][0]);
  json["added_tokens"][1].update({{"id", 70'000}, {"content", "<far>"}});
  write_file(file, json.dump());
  PrepareOptions options = this->options({folder_ / "in.txt"});
  write_file(options.text.files[0], "a<far>\n\na<far>");
  options.tokenizer = file.string();
  options.validation_fraction = 0.5;
  options.shard_tokens = 2;
  run(options);
  EXPECT_EQ(read_dataset_info(out_).vocab_size, 70'001);
  EXPECT_THAT(all_tokens(out_, Split::kTrain), ElementsAre(256, 'a', 70'000));
  EXPECT_EQ(std::filesystem::file_size(out_ / "train_000000.bin"), 1024u + 2 * 4);
  verify(out_);
  testing::write_dataset(folder_ / "negative", {-1}, 100, 70'000);
  EXPECT_THAT(error_of([&] { all_tokens(folder_ / "negative", Split::kTrain); }), HasSubstr("4294967295"));
  EXPECT_THAT(error_of([&] { verify(folder_ / "negative"); }), HasSubstr("4294967295"));
}

TEST_F(PrepareTest, AnotherTokenizerInTheFolderIsKept) {
  const std::filesystem::path file = folder_ / "mine.json";
  write_file(file, testing::byte_level_json({}).dump());
  std::filesystem::create_directories(out_);
  write_file(out_ / "tokenizer.json", "{}");
  PrepareOptions options = this->options({folder_ / "in.txt"});
  write_file(options.text.files[0], "a\n\nb");
  options.tokenizer = file.string();
  EXPECT_THAT(error(options), HasSubstr("another tokenizer.json"));
  EXPECT_EQ(read_file(out_ / "tokenizer.json"), "{}");
}

// No file may grow beyond `limit` bytes in this scope: writing fails there, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t limit) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit small{limit, old_limit_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  void (*old_handler_)(int);
  rlimit old_limit_{};
};

TEST_F(PrepareTest, FullDisk) {
  // Shards of 1064 bytes fit, dataset.json with its many shards does not; then not even a shard.
  PrepareOptions options = this->options({write_file(folder_ / "a.txt", numbered_documents(100))});
  options.shard_tokens = 20;
  options.out = folder_ / "new" / "out";
  for (const auto& [limit, name] : {std::pair{1100, "dataset.json"}, std::pair{1050, "_000000.bin"}}) {
    std::string message;
    {
      const FileSizeLimit full_disk(static_cast<rlim_t>(limit));
      message = error(options);
    }
    EXPECT_THAT(message, AllOf(HasSubstr("cannot write"), HasSubstr(name), HasSubstr("File too large")));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "new")) << "limit " << limit;
  }
}

TEST_F(PrepareTest, AFailureLeavesForeignFilesAlone) {
  std::filesystem::create_directory(out_);
  write_file(out_ / "notes.txt", "mine");
  const PrepareOptions options = this->options({write_file(folder_ / "a.txt", numbered_documents(100))});
  {
    const FileSizeLimit full_disk(1050);
    EXPECT_THAT(error(options), HasSubstr("cannot write"));
  }
  EXPECT_THAT(names_in(out_), ElementsAre("notes.txt"));
}

}  // namespace
}  // namespace mudelta
