#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mudelta {

// A regular file mapped into memory for reading. Copies share the mapping.
class MappedFile {
 public:
  // Throws Error, naming the file and the system's reason, if it cannot be opened or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_.get(), num_bytes_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_.get()), num_bytes_}; }

 private:
  std::filesystem::path path_;
  std::shared_ptr<const std::byte> data_;  // null if the file is empty
  std::size_t num_bytes_ = 0;
};

// XXH64 (seed 0) of `bytes` as 16 hexadecimal digits.
std::string xxh64_of(std::span<const std::byte> bytes);

}  // namespace mudelta
