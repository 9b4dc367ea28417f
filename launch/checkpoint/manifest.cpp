#include "launch/checkpoint/manifest.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "core/shape.h"
#include "launch/config/config_text.h"

namespace mudelta {
namespace {

using google::protobuf::TextFormat;

std::string checksum_line(std::string_view text) {
  return fmt::format("# mudelta checkpoint manifest; xxh64 of the lines below: {}\n",
                     xxh64_of(std::as_bytes(std::span(text))));
}

using Extent = std::pair<std::int64_t, std::int64_t>;       // begin, numel
using ElementCounts = std::map<std::string, std::int64_t>;  // by parameter

ElementCounts count_elements(const CheckpointManifest& manifest) {
  ElementCounts elements;
  for (const CheckpointParameter& parameter : manifest.parameters()) {
    const Shape shape(std::span<const std::int64_t>(parameter.shape().data(), parameter.shape_size()));
    const bool is_new = elements.emplace(parameter.name(), shape.numel()).second;
    require(is_new, "two parameters are named {}", parameter.name());
  }
  return elements;
}

// Files lie in the checkpoint's own folder.
void check_files(const CheckpointManifest& manifest) {
  std::set<std::string> names;
  for (const CheckpointFile& file : manifest.files()) {
    const std::string& name = file.name();
    require(!name.empty() && name != "." && name != ".." && std::filesystem::path(name).filename() == name,
            "a file is called `{}`, expected the name of a file in the same folder", name);
    require(names.insert(name).second, "two files are called {}", name);
  }
}

void check_segments(const CheckpointManifest& manifest, const ElementCounts& elements) {
  for (const CheckpointFile& file : manifest.files()) {
    for (const CheckpointSegment& segment : file.segments()) {
      const auto parameter = elements.find(segment.parameter());
      require(parameter != elements.end(), "{}: there is no parameter {}", segment.key(), segment.parameter());
      require(segment.begin() >= 0 && segment.numel() >= 0 && segment.begin() <= parameter->second &&
                  segment.numel() <= parameter->second - segment.begin(),
              "{}: {} elements from {}, expected some of the {} of {}", segment.key(), segment.numel(), segment.begin(),
              parameter->second, segment.parameter());
    }
  }
}

// The segments of every state that occurs, and of "weight", cover each element of each parameter once.
void check_coverage(const CheckpointManifest& manifest, const ElementCounts& elements) {
  std::map<std::pair<std::string, std::string>, std::vector<Extent>> extents;  // by state and parameter
  std::set<std::string> states = {"weight"};
  for (const CheckpointFile& file : manifest.files()) {
    for (const CheckpointSegment& segment : file.segments()) {
      states.insert(segment.state());
      extents[{segment.state(), segment.parameter()}].emplace_back(segment.begin(), segment.numel());
    }
  }
  for (const std::string& state : states) {
    for (const auto& [parameter, numel] : elements) {
      std::vector<Extent>& parts = extents[{state, parameter}];
      std::ranges::sort(parts);
      std::int64_t end = 0;
      for (const auto& [part_begin, part_numel] : parts) {
        require(part_begin == end, "{} of {}: a segment begins at element {}, expected {}", state, parameter,
                part_begin, end);
        end += part_numel;
      }
      require(end == numel, "{} of {}: {} elements are stored, expected {}", state, parameter, end, numel);
    }
  }
}

}  // namespace

void write_manifest(const std::filesystem::path& folder, const CheckpointManifest& manifest) {
  std::string text;
  if (!TextFormat::PrintToString(manifest, &text)) fail("cannot print the manifest of {}", folder.string());
  write_file_atomically(folder / kManifestName, checksum_line(text) + text);
}

CheckpointManifest read_manifest(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kManifestName;
  const std::string file = read_file(path);
  const std::size_t line_end = file.find('\n');
  const std::string_view text =
      line_end == std::string::npos ? std::string_view() : std::string_view(file).substr(line_end + 1);
  require(file == checksum_line(text) + std::string(text), "{} is damaged: its checksum does not fit its text",
          path.string());

  ManifestVersion version;
  parse_known_fields(file, version);
  require(version.format_version() == kCheckpointFormatVersion, "{} has format version {}, expected {}", path.string(),
          version.format_version(), kCheckpointFormatVersion);
  CheckpointManifest manifest;
  parse_text(file, path.string(), manifest);
  return manifest;
}

void check_manifest(const CheckpointManifest& manifest, const std::filesystem::path& folder) {
  try {
    const ElementCounts elements = count_elements(manifest);
    check_files(manifest);
    check_segments(manifest, elements);
    check_coverage(manifest, elements);
  } catch (const Error& error) {
    fail("{}: {}", folder.string(), error.what());
  }
}

}  // namespace mudelta
