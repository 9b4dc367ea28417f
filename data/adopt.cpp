#include "data/adopt.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/files/checksum.h"
#include "data/created_paths.h"
#include "data/dataset.h"
#include "data/dataset_info.h"
#include "data/foreign_tokens.h"
#include "data/tokenizers/stored_tokenizer.h"

namespace mudelta {
namespace {

// Some of a file's tokens.
struct Part {
  const ForeignTokens* tokens;
  std::int64_t begin, end;
};

std::vector<ForeignTokens> open_all(const std::vector<std::filesystem::path>& paths) {
  std::vector<ForeignTokens> all;
  for (const auto& path : paths) all.push_back(open_foreign_tokens(path));
  return all;
}

std::vector<Part> whole(const std::vector<ForeignTokens>& files) {
  std::vector<Part> parts;
  for (const ForeignTokens& file : files) parts.push_back({&file, 0, file.num_tokens});
  return parts;
}

std::int64_t num_tokens(const std::vector<Part>& parts) {
  std::int64_t sum = 0;
  for (const Part& part : parts) sum += part.end - part.begin;
  return sum;
}

// Where documents begin in a file, but for its first: calls visit(token), in their order from `begin` on, until that
// says true.
void for_each_document(const ForeignTokens& tokens, std::int64_t begin, std::int32_t separator,
                       const std::function<bool(std::int64_t token)>& visit) {
  begin = std::max<std::int64_t>(begin, 1);
  if (tokens.has_index()) {
    for (auto end = std::ranges::lower_bound(tokens.document_ends, begin); end != tokens.document_ends.end(); ++end) {
      if (*end == tokens.num_tokens || visit(*end)) return;
    }
    return;
  }
  const FileReader file(tokens.file);
  constexpr std::int64_t kStep = 1 << 16;
  bool is_done = false;
  for (; begin < tokens.num_tokens && !is_done; begin += kStep) {
    std::int64_t token = begin;
    for_each_block(file, *tokens.layout, begin, std::min(tokens.num_tokens, begin + kStep), [&](auto, auto ids) {
      for (const std::int32_t id : ids) {
        if (!is_done && id == separator) is_done = visit(token);
        ++token;
      }
    });
  }
}

// Cuts the last documents off: those that begin in the last `fraction` of all tokens, or the last one if none does.
std::vector<Part> cut_validation(std::vector<Part>& train, double fraction, std::int32_t separator) {
  const std::int64_t all = num_tokens(train);
  std::int64_t target = all - std::llround(fraction * static_cast<double>(all));
  std::size_t file = 0;
  for (; file + 1 < train.size() && target >= train[file].end; ++file) target -= train[file].end;
  std::optional<std::int64_t> cut;  // in `file`
  if (target == 0 && file > 0) cut = 0;
  const auto take = [&](std::int64_t token) { return cut = token, true; };
  if (!cut) for_each_document(*train[file].tokens, target, separator, take);
  if (!cut && file + 1 < train.size()) {
    ++file;
    cut = 0;
  }
  const auto take_last = [&](std::int64_t token) { return cut = token, false; };
  if (!cut) for_each_document(*train[file].tokens, 0, separator, take_last);
  if (!cut && file > 0) cut = 0;
  require(cut.has_value(), "{} holds one document only: name a file to validate on",
          train.front().tokens->file.string());

  std::vector<Part> validation(train.begin() + static_cast<std::ptrdiff_t>(file), train.end());
  validation.front().begin = *cut;
  train.resize(file + 1);
  train.back().end = *cut;
  if (*cut == 0) train.pop_back();
  return validation;
}

class Adoption {
 public:
  Adoption(const StoredTokenizer& stored, std::int64_t total,
           const std::function<void(std::int64_t, std::int64_t)>& progress)
      : stored_(stored), total_(total), progress_(progress) {}

  std::vector<DatasetInfo::ShardInfo> read(const std::vector<Part>& parts) {
    std::vector<DatasetInfo::ShardInfo> shards;
    for (const Part& part : parts) shards.push_back(read(part));
    return shards;
  }
  std::int64_t num_separators() const { return num_separators_; }

 private:
  DatasetInfo::ShardInfo read(const Part& part) {
    const ForeignTokens& tokens = *part.tokens;
    const FileReader file(tokens.file);
    const Tokenizer& tokenizer = *stored_.tokenizer;
    Checksum checksum;
    std::int64_t position = part.begin, separators = 0;
    auto end = std::ranges::upper_bound(tokens.document_ends, part.begin);
    for_each_block(file, *tokens.layout, part.begin, part.end, [&](auto bytes, auto ids) {
      checksum.append(bytes);
      check_ids(ids, tokenizer.vocab_size(), tokens.file);
      separators += std::ranges::count(ids, tokenizer.separator());
      for (; end != tokens.document_ends.end() && *end <= position + std::ssize(ids); ++end) {
        const std::int32_t last = ids[static_cast<std::size_t>(*end - 1 - position)];
        require(last == tokenizer.separator(),
                "{}: document {} ends with token {}, expected the separator {} ({}) at the end of each, as Megatron's "
                "preprocess_data.py --append-eod writes it",
                tokens.file.string(), end - tokens.document_ends.begin(), last, tokenizer.separator(),
                tokenizer.spelling_of(tokenizer.separator()));
      }
      position += std::ssize(ids);
      done_ += std::ssize(bytes);
      if (progress_) progress_(done_, total_);
    });
    require(separators > 0 || part.begin > 0,
            "{} holds no separator {} ({}): are these the tokens of another tokenizer, or is another token the "
            "separator?",
            tokens.file.string(), tokenizer.separator(), tokenizer.spelling_of(tokenizer.separator()));
    num_separators_ += separators;
    return {.file = tokens.file.string(),
            .num_tokens = part.end - part.begin,
            .xxh64 = checksum.digits(),
            .format = std::string(tokens.layout->name),
            .first_token = part.begin};
  }

  const StoredTokenizer& stored_;
  std::int64_t total_;
  const std::function<void(std::int64_t, std::int64_t)>& progress_;
  std::int64_t done_ = 0, num_separators_ = 0;
};

std::int64_t num_bytes(const std::vector<Part>& parts) {
  std::int64_t sum = 0;
  for (const Part& part : parts) sum += (part.end - part.begin) * part.tokens->layout->token_bytes;
  return sum;
}

}  // namespace

AdoptReport adopt(const AdoptOptions& options,
                  const std::function<void(std::int64_t bytes_done, std::int64_t bytes_total)>& progress) {
  require(!options.train.empty(), "no file to train on was given, expected at least one");
  require(options.validation_fraction > 0 && options.validation_fraction < 1,
          "the validation fraction is {}, expected between 0 and 1, both excluded", options.validation_fraction);
  require_no_dataset(options.out);
  const StoredTokenizer stored = open_tokenizer(options.tokenizer, options.separator_token);
  const Tokenizer& tokenizer = *stored.tokenizer;
  const std::vector<ForeignTokens> train_files = open_all(options.train),
                                   validation_files = open_all(options.validation);
  std::vector<Part> train = whole(train_files), validation = whole(validation_files);
  if (validation.empty()) validation = cut_validation(train, options.validation_fraction, tokenizer.separator());

  Adoption adoption(stored, num_bytes(train) + num_bytes(validation), progress);
  const DatasetInfo info{.tokenizer = stored.id,
                         .vocab_size = tokenizer.vocab_size(),
                         .separator = tokenizer.separator(),
                         .train = adoption.read(train),
                         .validation = adoption.read(validation)};
  CreatedPaths created;
  created.create_folder(options.out);
  created.save(stored, options.out);
  created.write(dataset_info_path(options.out), to_json(info));
  created.keep();
  return {num_tokens(train), num_tokens(validation), adoption.num_separators()};
}

}  // namespace mudelta
