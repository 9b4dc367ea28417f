#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace mudelta {

struct AdoptOptions {
  std::vector<std::filesystem::path> train, validation;  // as open_foreign_tokens takes them
  std::filesystem::path out;                             // must not hold a data set already
  std::string tokenizer;                                 // the one that made the tokens: "byte" or its file
  std::string separator_token;                           // as in PrepareOptions
  // Where no file is given to validate on: the share of the tokens at the end of the others that is.
  double validation_fraction = 0.01;
};

struct AdoptReport {
  std::int64_t train_tokens = 0, validation_tokens = 0;
  std::int64_t num_separators = 0;  // in both
};

// Makes a data set of tokens that other programs wrote, and which stay where they are: writes dataset.json, which names
// the files, and the tokenizer's file. Every token is read, for its range and for checksums. Documents are what stands
// between separators, which may be at their beginning (llm.c) or end (Megatron with --append-eod). The validation split
// that is cut off begins with a document.
// Throws Error, naming the file, on what open_foreign_tokens refuses, ids outside the tokenizer's, a file without a
// separator, and a document of Megatron's that does not end with it; nothing is left in `out` then.
// Calls progress(bytes) with the bytes that were read and those that are in all.
AdoptReport adopt(const AdoptOptions& options,
                  const std::function<void(std::int64_t bytes_done, std::int64_t bytes_total)>& progress);

}  // namespace mudelta
