#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "core/shape.h"

namespace mudelta::testing {

// Writes the values as NumPy's float32 array of that shape (format 1.0, little endian).
inline void write_npy(const std::string& path, std::span<const double> values, const Shape& shape) {
  std::string sizes;
  for (const std::int64_t size : shape.sizes()) sizes += std::to_string(size) + ",";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + sizes + "), }";
  constexpr std::size_t kPreamble = 10, kAlignment = 64;
  header.resize((kPreamble + header.size()) / kAlignment * kAlignment + kAlignment - kPreamble - 1, ' ');
  header += '\n';
  const std::vector<float> narrow(values.begin(), values.end());
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.put(static_cast<char>(header.size() % 256)).put(static_cast<char>(header.size() / 256));
  file << header;
  file.write(reinterpret_cast<const char*>(narrow.data()), static_cast<std::streamsize>(narrow.size() * sizeof(float)));
}

}  // namespace mudelta::testing
