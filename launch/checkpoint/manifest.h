#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "launch/checkpoint/manifest.pb.h"

namespace mudelta {

inline constexpr int kCheckpointFormatVersion = 1;
inline constexpr std::string_view kManifestName = "manifest.textproto";

// Writes FOLDER/manifest.textproto, all of it or nothing, and puts it on the disk. Its first line holds a checksum of
// the rest. Throws Error if it cannot be written.
void write_manifest(const std::filesystem::path& folder, const CheckpointManifest& manifest);

// Throws Error, naming the file, if the manifest is missing, damaged or of another format version, and, with the line,
// if it says what a manifest cannot say.
CheckpointManifest read_manifest(const std::filesystem::path& folder);

// Throws Error, naming `folder` and what is wrong, unless files have plain names of their own, each segment lies within
// a parameter, and the segments of every state tensor that occurs, and of "weight" in any case, cover every element of
// every parameter exactly once.
void check_manifest(const CheckpointManifest& manifest, const std::filesystem::path& folder);

}  // namespace mudelta
