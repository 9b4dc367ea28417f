#include "launch/manifest.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/checksum.h"
#include "launch/atomic_file.h"

namespace mudelta {
namespace {

using google::protobuf::TextFormat;

std::string checksum_line(std::string_view text) {
  return fmt::format("# mudelta checkpoint manifest; xxh64 of the lines below: {}\n",
                     xxh64_of(std::as_bytes(std::span(text))));
}

using Extent = std::pair<std::int64_t, std::int64_t>;  // begin, numel

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

  CheckpointManifest manifest;
  require(TextFormat::ParseFromString(std::string(text), &manifest),
          "{} is not a checkpoint manifest that this version can read", path.string());
  require(manifest.format_version() == kCheckpointFormatVersion, "{} has format version {}, expected {}", path.string(),
          manifest.format_version(), kCheckpointFormatVersion);
  return manifest;
}

void check_coverage(const CheckpointManifest& manifest, const std::filesystem::path& folder) {
  std::map<std::pair<std::string, std::string>, std::vector<Extent>> extents;  // by state and parameter
  std::set<std::string> states = {"weight"};
  for (const CheckpointFile& file : manifest.files()) {
    for (const CheckpointSegment& segment : file.segments()) {
      states.insert(segment.state());
      extents[{segment.state(), segment.parameter()}].emplace_back(segment.begin(), segment.numel());
    }
  }
  for (const std::string& state : states) {
    for (const CheckpointParameter& parameter : manifest.parameters()) {
      std::int64_t numel = 1;
      for (const std::int64_t size : parameter.shape()) numel *= size;
      std::vector<Extent>& parts = extents[{state, parameter.name()}];
      std::ranges::sort(parts);
      std::int64_t end = 0;
      for (const auto& [part_begin, part_numel] : parts) {
        require(part_begin == end, "{}: {} of {}: a segment begins at element {}, expected {}", folder.string(), state,
                parameter.name(), part_begin, end);
        end += part_numel;
      }
      require(end == numel, "{}: {} of {}: {} elements are stored, expected {}", folder.string(), state,
              parameter.name(), end, numel);
    }
  }
}

}  // namespace mudelta
