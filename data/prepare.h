#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "data/text/text_inputs.h"

namespace mudelta {

struct PrepareOptions {
  TextOptions text;                // the inputs
  std::filesystem::path out;       // must not hold a data set already
  std::string tokenizer = "byte";  // or a tokenizer's file
  std::string separator_token;     // that starts documents, by its spelling; empty: the usual one of the tokenizer
  double validation_fraction = 0.01;
  std::uint64_t seed = 1;  // of the draw of validation documents
  std::int64_t shard_tokens = 100'000'000;
};

struct PrepareReport {
  std::int64_t num_inputs = 0, num_json_lines_inputs = 0, num_empty_inputs = 0;
  std::int64_t num_crlf_inputs = 0;  // text files with CRLF line ends
  BadLines bad_lines;                // of JSON lines
  std::int64_t num_documents = 0, median_document_bytes = 0;
  std::int64_t train_tokens = 0, validation_tokens = 0, num_shards = 0;
};

// The inputs are read twice: looked through first, then written as tokens.
enum class PrepareStage : std::uint8_t { kLook, kWrite };

// Called now and then with the bytes of the inputs (as they lie on the disk) that a stage has done, and in all. What it
// throws ends the work.
using PrepareProgress = std::function<void(PrepareStage stage, std::int64_t bytes_done, std::int64_t bytes_total)>;

// Tokenizes text (data/text/text_inputs.h) into shards and a dataset.json (written last: a folder without one is no
// data set). A document becomes a separator token and its tokens; empty ones are skipped. Documents go to the
// validation split at random by (seed, document number), at least one of them to each split; of a lone document, the
// last validation_fraction of its bytes (at least one) becomes a document of the validation split. The tokenizer's
// file, if it has one, is kept beside the shards. Inputs are read twice, one open at a time; but for the byte
// tokenizer, each document is in memory whole. Throws Error on an input that is missing, surely no text
// (data/text/text_file.h), damaged or changes meanwhile, on inputs without a document, an output folder that already
// holds a data set, or a disk that is full; what was written is then removed.
PrepareReport prepare(const PrepareOptions& options, const PrepareProgress& progress);

}  // namespace mudelta
