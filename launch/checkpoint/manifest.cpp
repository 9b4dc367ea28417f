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
#include "launch/config/config_text.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

using google::protobuf::TextFormat;

std::string checksum_line(std::string_view text) {
  return fmt::format("# mudelta checkpoint manifest; xxh64 of the lines below: {}\n",
                     xxh64_of(std::as_bytes(std::span(text))));
}

using Shapes = std::map<std::string, Shape>;           // of whole parameters, by name
using Extent = std::pair<std::int64_t, std::int64_t>;  // begin, numel
using Slices = std::map<ParameterSlice, std::vector<Extent>>;

Shapes shapes_of(const CheckpointManifest& manifest) {
  Shapes shapes;
  for (const CheckpointParameter& parameter : manifest.parameters()) {
    const bool is_new = shapes.emplace(parameter.name(), shape_of(parameter)).second;
    require(is_new, "two parameters are named {}", parameter.name());
  }
  return shapes;
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

std::int64_t numel_of_slice(const CheckpointSegment& segment, const Shape& whole) {
  try {
    return SliceMap(whole, slice_of(segment)).numel();
  } catch (const Error& error) {
    fail("{}: {}", segment.key(), error.what());
  }
}

void check_segments(const CheckpointManifest& manifest, const Shapes& shapes) {
  for (const CheckpointFile& file : manifest.files()) {
    for (const CheckpointSegment& segment : file.segments()) {
      const auto shape = shapes.find(segment.parameter());
      require(shape != shapes.end(), "{}: there is no parameter {}", segment.key(), segment.parameter());
      const std::int64_t numel = numel_of_slice(segment, shape->second);
      require(segment.begin() >= 0 && segment.numel() >= 0 && segment.begin() <= numel &&
                  segment.numel() <= numel - segment.begin(),
              "{}: {} elements from {}, expected some of the {} of {}", segment.key(), segment.numel(), segment.begin(),
              numel, segment.parameter());
    }
  }
}

// `extents` are [0, numel) in parts. `what` begins the messages.
void check_extents(const std::string& what, std::vector<Extent>& extents, std::int64_t numel) {
  std::ranges::sort(extents);
  std::int64_t end = 0;
  for (const auto& [part_begin, part_numel] : extents) {
    require(part_begin == end, "{}: a segment begins at element {}, expected {}", what, part_begin, end);
    end += part_numel;
  }
  require(end == numel, "{}: {} elements are stored, expected {}", what, end, numel);
}

// `slices`, in their order, are `whole` cut along one dimension, and each is there in full.
void check_slices(const std::string& what, Slices& slices, const Shape& whole) {
  if (slices.empty()) slices[ParameterSlice()];
  const ParameterSlice first = slices.begin()->first, last = slices.rbegin()->first;
  require(first.dim == last.dim, "{}: {} is stored beside {}, expected slices of one dimension", what, last.to_string(),
          first.to_string());
  const int dim = first.dim;
  std::int64_t end = 0;
  for (auto& [slice, extents] : slices) {
    require(slice.begin == end, "{}: a slice begins at index {} of dimension {}, expected {}", what, slice.begin, dim,
            end);
    end = slice.end;
    check_extents(slice.is_whole() ? what : fmt::format("{}, {}", what, slice.to_string()), extents,
                  SliceMap(whole, slice).numel());
  }
  if (first.is_whole()) return;
  require(end == whole[dim], "{}: the slices end at index {} of dimension {}, expected {}", what, end, dim, whole[dim]);
}

// By which of the optimizer's updates each parameter goes: those of one have the same states.
std::map<std::string, OptimizerKind> updates_of(const CheckpointManifest& manifest) {
  const OptimizerKind kind =
      manifest.has_optimizer() ? parse_optimizer_kind(manifest.optimizer()) : OptimizerKind::kAdamW;
  std::map<std::string, OptimizerKind> updates;
  for (const CheckpointParameter& parameter : manifest.parameters()) {
    updates[parameter.name()] = parameter.has_role() ? update_kind(kind, parse_role(parameter.role())) : kind;
  }
  return updates;
}

void check_coverage(const CheckpointManifest& manifest, const Shapes& shapes) {
  const std::map<std::string, OptimizerKind> updates = updates_of(manifest);
  std::map<std::pair<std::string, std::string>, Slices> slices;  // by state and parameter
  std::map<OptimizerKind, std::set<std::string>> states;
  for (const auto& [parameter, update] : updates) states[update].insert("weight");
  for (const CheckpointFile& file : manifest.files()) {
    for (const CheckpointSegment& segment : file.segments()) {
      states[updates.at(segment.parameter())].insert(segment.state());
      slices[{segment.state(), segment.parameter()}][slice_of(segment)].emplace_back(segment.begin(), segment.numel());
    }
  }
  for (const auto& [parameter, shape] : shapes) {
    for (const std::string& state : states.at(updates.at(parameter))) {
      check_slices(fmt::format("{} of {}", state, parameter), slices[{state, parameter}], shape);
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
    const Shapes shapes = shapes_of(manifest);
    check_files(manifest);
    check_segments(manifest, shapes);
    check_coverage(manifest, shapes);
  } catch (const Error& error) {
    fail("{}: {}", folder.string(), error.what());
  }
}

Shape shape_of(const CheckpointParameter& parameter) {
  return Shape(std::span<const std::int64_t>(parameter.shape().data(), parameter.shape_size()));
}

ParameterSlice slice_of(const CheckpointSegment& segment) {
  return {segment.slice_dim(), segment.slice_begin(), segment.slice_end()};
}

}  // namespace mudelta
