#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "core/parameter_slice.h"
#include "core/shape.h"
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
// a slice of a parameter, and for every state tensor that occurs, and for "weight" in any case, the slices of every
// parameter are a cut of one of its dimensions and the segments cover every element of each slice exactly once.
void check_manifest(const CheckpointManifest& manifest, const std::filesystem::path& folder);

Shape shape_of(const CheckpointParameter& parameter);
ParameterSlice slice_of(const CheckpointSegment& segment);

}  // namespace mudelta
