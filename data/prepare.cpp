#include "data/prepare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "core/files/checksum.h"
#include "core/files/file_reader.h"
#include "core/files/file_writer.h"
#include "data/created_paths.h"
#include "data/dataset.h"
#include "data/dataset_info.h"
#include "data/documents.h"
#include "data/shard.h"
#include "data/text/text_inputs.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

// One split: documents written one after another into shards of `shard_tokens` tokens, the last one shorter.
class SplitWriter {
 public:
  SplitWriter(const PrepareOptions& options, const Tokenizer& tokenizer, std::string_view name, CreatedPaths& created)
      : options_(options), tokenizer_(tokenizer), name_(name), created_(created) {}

  void start_document() {
    end_document();
    append_tokens(std::array{tokenizer_.separator()});
  }

  void append(std::string_view piece) {
    bytes_.text += std::ssize(piece);
    if (tokenizer_.cuts_anywhere()) {
      encode(piece);
    } else {
      document_ += piece;
    }
  }

  void finish() {
    end_document();
    if (shard_) close_shard();
  }

  const std::vector<DatasetInfo::ShardInfo>& shards() const { return shards_; }
  const DatasetInfo::Bytes& bytes() const { return bytes_; }

 private:
  void end_document() {
    if (!document_.empty()) encode(document_);
    document_.clear();
  }

  void encode(std::string_view text) {
    tokens_.clear();
    tokenizer_.encode(text, tokens_);
    for (const std::int32_t token : tokens_) bytes_.tokens += tokenizer_.num_bytes(token);
    append_tokens(tokens_);
  }

  void append_tokens(std::span<const std::int32_t> tokens) {
    while (!tokens.empty()) {
      if (!shard_) open_shard();
      const auto room = static_cast<std::size_t>(options_.shard_tokens - shard_->num_tokens());
      const auto part = tokens.first(std::min(room, tokens.size()));
      shard_->append(part);
      tokens = tokens.subspan(part.size());
      if (part.size() == room) close_shard();
    }
  }

  void open_shard() {
    remove_temporaries_of(shard_path());
    shard_ = std::make_unique<ShardWriter>(shard_path(), shard_layout(tokenizer_.vocab_size()));
  }

  void close_shard() {
    const fs::path path = shard_path();
    const std::int64_t num_tokens = shard_->num_tokens();
    shard_->commit();
    shard_.reset();
    created_.add(path);
    shards_.push_back({path.filename().string(), num_tokens, xxh64_of(FileReader(path))});
  }

  fs::path shard_path() const { return options_.out / fmt::format("{}_{:06}.bin", name_, shards_.size()); }

  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  std::string_view name_;
  CreatedPaths& created_;
  std::unique_ptr<ShardWriter> shard_;  // null between shards
  std::vector<DatasetInfo::ShardInfo> shards_;
  DatasetInfo::Bytes bytes_;
  std::string document_;              // its text so far, unless the tokenizer cuts anywhere
  std::vector<std::int32_t> tokens_;  // of what was encoded last
};

void check(const PrepareOptions& options) {
  require(!options.text.files.empty(), "no input file was given, expected at least one");
  require(options.validation_fraction > 0 && options.validation_fraction < 1,
          "the validation fraction is {}, expected between 0 and 1, both excluded", options.validation_fraction);
  require(options.shard_tokens >= 1 && options.shard_tokens <= std::numeric_limits<std::int32_t>::max(),
          "{} tokens per shard asked for, expected 1 to {}", options.shard_tokens,
          std::numeric_limits<std::int32_t>::max());
  require_no_dataset(options.out);
}

std::int64_t sum_tokens(const std::vector<DatasetInfo::ShardInfo>& shards) {
  std::int64_t sum = 0;
  for (const auto& shard : shards) sum += shard.num_tokens;
  return sum;
}

// Bytes of a lone document that train; the rest of it validates.
std::int64_t size_of_head(std::int64_t num_bytes, double validation_fraction) {
  require(num_bytes >= 2, "the input is one document of {} byte, expected something for each of two splits", num_bytes);
  const auto tail = std::llround(validation_fraction * static_cast<double>(num_bytes));
  return num_bytes - std::clamp<std::int64_t>(tail, 1, num_bytes - 1);
}

// Makes two documents of a lone one: its first `head` bytes and the rest. With whole_characters, the first one ends
// before the character that it would cut, if that begins in the same piece of it.
DocumentVisitor cut_in_two(std::int64_t head, bool whole_characters, DocumentVisitor visit) {
  return [head, whole_characters, visit = std::move(visit), begin = std::int64_t{0}](std::string_view piece,
                                                                                     bool starts) mutable {
    auto middle = static_cast<std::size_t>(std::clamp<std::int64_t>(head - begin, 0, std::ssize(piece)));
    if (whole_characters && middle < piece.size()) {
      const std::size_t whole = mudelta::whole_characters(piece.substr(0, middle));
      if (whole > 0) {
        head -= static_cast<std::int64_t>(middle - whole);
        middle = whole;
      }
    }
    if (middle > 0) visit(piece.substr(0, middle), starts);
    if (middle < piece.size()) visit(piece.substr(middle), begin + static_cast<std::int64_t>(middle) == head);
    begin += std::ssize(piece);
  };
}

// Of all documents, by a first reading.
DocumentSizes measure_documents(const TextInputs& inputs, const PrepareProgress& progress, BadLines& bad) {
  DocumentSizes sizes;
  std::int64_t size = 0, bytes_done = 0;
  const auto add_last = [&] {
    if (size > 0) sizes.add(size);
    size = 0;
  };
  const auto visit = [&](std::string_view piece, bool starts_document) {
    if (starts_document) add_last();
    size += std::ssize(piece);
  };
  const auto add_block = [&](std::int64_t num_bytes) {
    bytes_done += num_bytes;
    if (progress) progress(PrepareStage::kLook, bytes_done, inputs.num_bytes());
  };
  inputs.for_each_document(visit, add_block, &bad);
  add_last();
  require(sizes.num_documents() > 0, "the input holds no document, only separators or empty texts");
  return sizes;
}

// The inputs' documents, each to its split.
void write_documents(const TextInputs& inputs, const DocumentSizes& sizes, const PrepareOptions& options,
                     bool whole_characters, SplitWriter& train, SplitWriter& validation,
                     const PrepareProgress& progress) {
  const bool lone = sizes.num_documents() == 1;
  std::optional<ValidationDraw> draw;
  if (!lone) draw.emplace(options.seed, options.validation_fraction, sizes.num_documents());
  std::int64_t num_documents = 0, bytes_done = 0;
  SplitWriter* split = nullptr;
  DocumentVisitor write = [&](std::string_view piece, bool starts_document) {
    if (starts_document) {
      const std::int64_t number = num_documents++;
      split = (draw ? (*draw)(number) : number == 1) ? &validation : &train;
      split->start_document();
    }
    split->append(piece);
  };
  if (lone) write = cut_in_two(size_of_head(sizes.median(), options.validation_fraction), whole_characters, write);
  inputs.for_each_document(write, [&](std::int64_t num_bytes) {
    bytes_done += num_bytes;
    if (progress) progress(PrepareStage::kWrite, bytes_done, inputs.num_bytes());
  });
  require(num_documents == sizes.num_documents() + (lone ? 1 : 0), "the inputs have changed while they were in use");
}

}  // namespace

PrepareReport prepare(const PrepareOptions& options, const PrepareProgress& progress) {
  check(options);
  const StoredTokenizer stored = open_tokenizer(options.tokenizer, options.separator_token);
  const Tokenizer& tokenizer = *stored.tokenizer;
  const TextInputs inputs(options.text);
  PrepareReport report{.num_inputs = inputs.num_files(),
                       .num_json_lines_inputs = inputs.num_json_lines(),
                       .num_empty_inputs = inputs.num_empty(),
                       .num_crlf_inputs = inputs.num_crlf()};
  const DocumentSizes sizes = measure_documents(inputs, progress, report.bad_lines);
  report.num_documents = sizes.num_documents();
  report.median_document_bytes = sizes.median();

  CreatedPaths created;
  created.create_folder(options.out);
  created.save(stored, options.out);
  SplitWriter train(options, tokenizer, "train", created);
  SplitWriter validation(options, tokenizer, "validation", created);
  write_documents(inputs, sizes, options, !tokenizer.cuts_anywhere(), train, validation, progress);
  train.finish();
  validation.finish();
  const DatasetInfo info{stored.id,           tokenizer.vocab_size(), tokenizer.separator(), train.shards(),
                         validation.shards(), train.bytes(),          validation.bytes()};
  created.write(dataset_info_path(options.out), to_json(info));
  created.keep();
  report.train_tokens = sum_tokens(info.train);
  report.validation_tokens = sum_tokens(info.validation);
  report.num_shards = std::ssize(info.train) + std::ssize(info.validation);
  return report;
}

}  // namespace mudelta
