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
#include "data/mapped_file.h"

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

// A safetensors file, mapped for reading.
class SafetensorsFile {
 public:
  struct Entry {
    DType dtype;
    Shape shape;
    std::span<const std::byte> bytes;  // need not be aligned
  };

  // Throws Error, saying what was found and what was expected, unless the header is well formed and describes exactly
  // the bytes that the file has: no gap, no overlap, sizes as shapes and dtypes say.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  std::int64_t num_bytes() const { return std::ssize(file_.bytes()); }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  const Entry& find(const std::string& key) const;  // throws Error if there is none
  Tensor read(const std::string& key) const;        // a copy

 private:
  MappedFile file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace mudelta
