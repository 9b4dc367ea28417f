#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/shard.h"

namespace mudelta {

// Tokens that another program wrote.
struct ForeignTokens {
  std::filesystem::path file;  // the .bin, as an absolute path
  const ShardLayout* layout = nullptr;
  std::int64_t num_tokens = 0;
  // Of Megatron's: where each document that holds tokens ends, in tokens, ascending.
  std::vector<std::int64_t> document_ends;

  bool has_index() const { return layout->header_bytes == 0; }
};

// What `path` names: llm.c's .bin of either version, or Megatron's .idx, whose .bin lies beside it. Checks all that the
// .idx says against itself and against the size of the .bin. Throws Error, naming the file, the value and what was
// expected. Nothing beyond a file's end is read, whatever its header says.
ForeignTokens open_foreign_tokens(const std::filesystem::path& path);

}  // namespace mudelta
