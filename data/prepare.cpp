#include "data/prepare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "data/dataset.h"
#include "data/dataset_info.h"
#include "data/documents.h"
#include "data/file_writer.h"
#include "data/mapped_file.h"
#include "data/shard.h"
#include "data/tokenizer.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

// Text that is encoded at a time, so that a document may be larger than memory.
constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::int64_t kReportedBytes = 1 << 20;  // between calls of the progress function

// Files and folders that did not exist before; unless kept, they are removed again, the newest first.
class CreatedPaths {
 public:
  CreatedPaths() = default;
  ~CreatedPaths() {
    std::error_code ignored;
    for (; !paths_.empty(); paths_.pop_back()) fs::remove(paths_.back(), ignored);
  }
  CreatedPaths(const CreatedPaths&) = delete;
  CreatedPaths& operator=(const CreatedPaths&) = delete;

  void add(const fs::path& path) { paths_.push_back(path); }
  void keep() { paths_.clear(); }

  void create_folder(const fs::path& folder) {
    std::error_code error;
    if (folder.empty() || fs::is_directory(folder, error)) return;
    create_folder(folder.parent_path());
    if (fs::create_directory(folder, error)) add(folder);
    require(!error, "cannot create the folder {}: {}", folder.string(), error.message());
  }

 private:
  std::vector<fs::path> paths_;
};

// One split: documents written one after another into shards of `shard_tokens` tokens, the last one shorter.
class SplitWriter {
 public:
  SplitWriter(const PrepareOptions& options, const Tokenizer& tokenizer, std::string_view name, CreatedPaths& created)
      : options_(options), tokenizer_(tokenizer), name_(name), created_(created) {}

  // Calls progress(bytes) for each piece of text written.
  void append(std::string_view document, const std::function<void(std::int64_t)>& progress) {
    append_tokens(std::array{tokenizer_.separator()});
    for (; !document.empty(); document.remove_prefix(std::min(kPieceBytes, document.size()))) {
      const std::string_view piece = document.substr(0, kPieceBytes);
      append_tokens(tokenizer_.encode(piece));
      progress(static_cast<std::int64_t>(piece.size()));
    }
  }

  std::vector<DatasetInfo::ShardInfo> finish() {
    if (shard_) close_shard();
    return shards_;
  }

 private:
  void append_tokens(std::span<const std::int32_t> tokens) {
    while (!tokens.empty()) {
      if (!shard_) shard_ = std::make_unique<ShardWriter>(shard_path());
      const auto room = static_cast<std::size_t>(options_.shard_tokens - shard_->num_tokens());
      const auto part = tokens.first(std::min(room, tokens.size()));
      shard_->append(part);
      tokens = tokens.subspan(part.size());
      if (part.size() == room) close_shard();
    }
  }

  void close_shard() {
    const fs::path path = shard_path();
    const std::int64_t num_tokens = shard_->num_tokens();
    shard_->commit();
    shard_.reset();
    created_.add(path);
    shards_.push_back({path.filename().string(), num_tokens, xxh64_of(MappedFile(path).bytes())});
  }

  fs::path shard_path() const { return options_.out / fmt::format("{}_{:06}.bin", name_, shards_.size()); }

  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  std::string_view name_;
  CreatedPaths& created_;
  std::unique_ptr<ShardWriter> shard_;  // null between shards
  std::vector<DatasetInfo::ShardInfo> shards_;
};

void check(const PrepareOptions& options) {
  require(!options.inputs.empty(), "no input file was given, expected at least one");
  require(options.validation_fraction > 0 && options.validation_fraction < 1,
          "the validation fraction is {}, expected between 0 and 1, both excluded", options.validation_fraction);
  require(options.shard_tokens >= 1 && options.shard_tokens <= std::numeric_limits<std::int32_t>::max(),
          "{} tokens per shard asked for, expected 1 to {}", options.shard_tokens,
          std::numeric_limits<std::int32_t>::max());
  require(!options.out.empty(), "no output folder was given");
  std::error_code ignored;
  require(!fs::exists(dataset_info_path(options.out), ignored),
          "{} holds a data set already, expected a new or empty folder", options.out.string());
}

std::vector<MappedFile> open_inputs(const PrepareOptions& options) {
  std::vector<MappedFile> files;
  for (const fs::path& path : options.inputs) {
    files.emplace_back(path);
    require(!files.back().bytes().empty(), "input {} is empty", path.string());
  }
  return files;
}

std::int64_t sum_tokens(const std::vector<DatasetInfo::ShardInfo>& shards) {
  std::int64_t sum = 0;
  for (const auto& shard : shards) sum += shard.num_tokens;
  return sum;
}

// Bytes of a lone document that train; the rest of it validates.
std::size_t size_of_head(std::string_view document, double validation_fraction) {
  require(document.size() >= 2, "the input is one document of {} byte, expected something for each of two splits",
          document.size());
  const auto tail = static_cast<std::size_t>(std::llround(validation_fraction * static_cast<double>(document.size())));
  return document.size() - std::clamp(tail, std::size_t{1}, document.size() - 1);
}

void write_file(const fs::path& path, std::string_view text, CreatedPaths& created) {
  FileWriter file(path);
  file.append(std::as_bytes(std::span(text)));
  file.commit();
  created.add(path);
}

}  // namespace

PrepareReport prepare(const PrepareOptions& options, const PrepareProgress& progress) {
  check(options);
  const auto tokenizer = make_tokenizer(options.tokenizer);
  require(tokenizer->vocab_size() <= kShardMaxVocab, "the tokenizer {} has {} ids, expected at most {}",
          tokenizer->name(), tokenizer->vocab_size(), kShardMaxVocab);
  const std::vector<MappedFile> inputs = open_inputs(options);
  const auto for_each = [&](const std::function<void(std::string_view)>& visit) {
    for (const MappedFile& input : inputs) for_each_document(input.text(), options.document_separator, visit);
  };

  std::int64_t num_documents = 0, num_bytes = 0;
  for_each([&](std::string_view document) {
    ++num_documents;
    num_bytes += static_cast<std::int64_t>(document.size());
  });
  require(num_documents > 0, "the input holds no document, only separators");

  CreatedPaths created;
  created.create_folder(options.out);
  SplitWriter train(options, *tokenizer, "train", created);
  SplitWriter validation(options, *tokenizer, "validation", created);
  std::int64_t bytes_done = 0, bytes_reported = 0;
  const auto advance = [&](std::int64_t bytes) {
    bytes_done += bytes;
    if (!progress || (bytes_done - bytes_reported < kReportedBytes && bytes_done < num_bytes)) return;
    bytes_reported = bytes_done;
    progress(bytes_done, num_bytes);
  };
  if (num_documents == 1) {
    for_each([&](std::string_view document) {
      const std::size_t head = size_of_head(document, options.validation_fraction);
      train.append(document.substr(0, head), advance);
      validation.append(document.substr(head), advance);
    });
  } else {
    const ValidationDraw validates(options.seed, options.validation_fraction, num_documents);
    std::int64_t number = 0;
    for_each([&](std::string_view document) { (validates(number++) ? validation : train).append(document, advance); });
  }

  const DatasetInfo info{tokenizer->name(), tokenizer->vocab_size(), tokenizer->separator(), train.finish(),
                         validation.finish()};
  write_file(dataset_info_path(options.out), to_json(info), created);
  created.keep();
  return {num_documents, sum_tokens(info.train), sum_tokens(info.validation),
          static_cast<std::int64_t>(info.train.size() + info.validation.size())};
}

}  // namespace mudelta
