#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace mudelta {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path out;       // must not hold a data set already
  std::string tokenizer = "byte";  // or a tokenizer's file
  std::string separator_token;     // that starts documents, by its spelling; empty: the usual one of the tokenizer
  // Text that ends a document; each file ends one too. Empty: a file is one document.
  std::string document_separator = "\n\n";
  double validation_fraction = 0.01;
  std::uint64_t seed = 1;  // of the draw of validation documents
  std::int64_t shard_tokens = 100'000'000;
};

struct PrepareReport {
  std::int64_t num_inputs = 0, num_empty_inputs = 0, num_crlf_inputs = 0;  // the last: with CRLF line ends
  std::int64_t num_documents = 0, median_document_bytes = 0;
  std::int64_t train_tokens = 0, validation_tokens = 0, num_shards = 0;
};

// Called now and then with the bytes of the inputs that are written so far (0 while they are looked through first) and
// in all. What it throws ends the work.
using PrepareProgress = std::function<void(std::int64_t bytes_done, std::int64_t bytes_total)>;

// Tokenizes text files into shards and a dataset.json (written last: a folder without one is no data set).
// A document becomes a separator token and its tokens; empty ones are skipped. Documents go to the validation split at
// random by (seed, document number), at least one of them to each split; of a lone document, the last
// validation_fraction of its bytes (at least one) becomes a document of the validation split.
// The tokenizer's file, if it has one, is kept beside the shards. Inputs are read twice, one open at a time; but for
// the byte tokenizer, each document is in memory whole. Throws Error on an input that is missing, surely no text
// (data/text_file.h) or changes meanwhile, on inputs without a document, an output folder that already holds a data
// set, or a disk that is full; what was written is then removed.
PrepareReport prepare(const PrepareOptions& options, const PrepareProgress& progress);

}  // namespace mudelta
