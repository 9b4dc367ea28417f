#include "core/files/checksum.h"

#include <fmt/format.h>
#define XXH_STATIC_LINKING_ONLY  // the state's size
#include <xxhash.h>

namespace mudelta {

struct Checksum::State {
  XXH64_state_t value;
};

Checksum::Checksum() : state_(std::make_unique<State>()) { XXH64_reset(&state_->value, 0); }
Checksum::~Checksum() = default;

void Checksum::append(std::span<const std::byte> bytes) { XXH64_update(&state_->value, bytes.data(), bytes.size()); }

std::string Checksum::digits() const { return fmt::format("{:016x}", XXH64_digest(&state_->value)); }

std::string xxh64_of(std::span<const std::byte> bytes) {
  Checksum checksum;
  checksum.append(bytes);
  return checksum.digits();
}

std::string xxh64_of(const FileReader& file) {
  Checksum checksum;
  file.for_each_block([&](std::span<const std::byte> block) { checksum.append(block); });
  return checksum.digits();
}

}  // namespace mudelta
