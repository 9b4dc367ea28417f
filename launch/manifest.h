#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "launch/manifest.pb.h"

namespace mudelta {

inline constexpr int kCheckpointFormatVersion = 1;
inline constexpr std::string_view kManifestName = "manifest.textproto";

// Writes FOLDER/manifest.textproto, all of it or nothing, and puts it on the disk. Its first line holds a checksum of
// the rest. Throws Error if it cannot be written.
void write_manifest(const std::filesystem::path& folder, const CheckpointManifest& manifest);

// Throws Error, naming the file, if the manifest is missing, damaged or of another format version.
CheckpointManifest read_manifest(const std::filesystem::path& folder);

// Throws Error, naming `folder`, the parameter, the state and the element, unless the segments of every state tensor
// that occurs, and of "weight" in any case, cover every element of every parameter exactly once.
void check_coverage(const CheckpointManifest& manifest, const std::filesystem::path& folder);

}  // namespace mudelta
