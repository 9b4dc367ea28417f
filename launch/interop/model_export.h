#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/dtype.h"

namespace mudelta {

// Of --format: this program's own, a checkpoint without optimizer state. The others: launch/interop/foreign_format.h.
inline constexpr std::string_view kOwnFormat = "mudelta";

struct ExportRequest {
  std::filesystem::path weights;  // as open_weights() takes it
  std::string format;
  std::filesystem::path out;
  DType dtype = DType::kFloat32;
  std::int64_t file_bytes = 0;    // of a file of weights at most
  std::int64_t probe_tokens = 0;  // of the text that the exported model is compared on; 0: it is not
  bool force = false;
};

// Writes the folder `out`, all of it or nothing, and returns what the user is told. What another program computes with
// it is computed here from the files that were written. Throws Error.
std::string export_model(const ExportRequest& request);

}  // namespace mudelta
