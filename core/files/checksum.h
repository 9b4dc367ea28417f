#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "core/files/file_reader.h"

namespace mudelta {

// XXH64 (seed 0) of bytes that come one part after another.
class Checksum {
 public:
  Checksum();
  ~Checksum();

  void append(std::span<const std::byte> bytes);
  std::string digits() const;  // of all bytes so far: 16 hexadecimal digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string xxh64_of(std::span<const std::byte> bytes);
std::string xxh64_of(const FileReader& file);  // of the whole file; throws Error as FileReader::read

}  // namespace mudelta
