#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace mudelta {

// The safetensors format (https://github.com/huggingface/safetensors#format): the length of the header in 8 bytes,
// little-endian; the header, JSON that maps each key to dtype, shape and [begin, end) of its bytes, padded with spaces
// so that the data start at a multiple of 8; the tensors' bytes, row-major, little-endian, without gaps.
// Dtypes here: F32, BF16, I32.

// Writes host tensors (wider dtypes first, else in the given order) and puts the file on the disk; it takes its name
// only when it is whole. Returns its size. Throws Error, naming the path and the system's reason, if a write fails,
// and on a key that occurs twice.
std::int64_t write_safetensors(const std::filesystem::path& path,
                               std::span<const std::pair<std::string, Tensor>> tensors,
                               const std::map<std::string, std::string>& metadata);

// A safetensors file, to be read a tensor at a time; it is open only meanwhile.
class SafetensorsFile {
 public:
  struct Entry {
    DType dtype;
    Shape shape;
    std::int64_t begin;  // of its bytes in the file
    std::int64_t num_bytes;
  };

  // Throws Error, saying what was found and what was expected, unless the header is well formed and describes exactly
  // the bytes that the file has: no gap, no overlap, sizes as shapes and dtypes say.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::int64_t num_bytes() const { return num_bytes_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  const Entry& find(const std::string& key) const;  // throws Error if there is none
  // Throws Error, naming the file, if there is none or the file has become shorter.
  Tensor read(const std::string& key) const;
  // Elements [begin, begin + numel) of the flattened tensor, which has them. Throws Error as above.
  Tensor read(const std::string& key, std::int64_t begin, std::int64_t numel) const;

 private:
  std::filesystem::path path_;
  std::int64_t num_bytes_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace mudelta
