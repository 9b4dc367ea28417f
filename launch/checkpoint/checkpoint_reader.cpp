#include "launch/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "core/error.h"
#include "core/files/checksum.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/manifest.h"

namespace mudelta {

CheckpointReader::CheckpointReader(std::filesystem::path folder)
    : folder_(std::move(folder)), manifest_(read_manifest(folder_)) {
  check_manifest(manifest_, folder_);
  const auto named = step_of(folder_);
  require(!named || *named == manifest_.state().step(), "{} holds the checkpoint of step {}: was it renamed?",
          folder_.string(), manifest_.state().step());
  for (const CheckpointParameter& parameter : manifest_.parameters()) {
    shapes_.emplace(parameter.name(), shape_of(parameter));
  }
  for (const CheckpointFile& file : manifest_.files()) {
    for (const CheckpointSegment& segment : file.segments()) {
      const SliceMap map(shapes_.at(segment.parameter()), slice_of(segment));
      segments_[{segment.parameter(), segment.state()}].push_back(
          {&file, &segment, {map, segment.begin(), segment.begin() + segment.numel()}});
    }
  }
}

void CheckpointReader::read(const std::string& parameter, const std::string& state, const ParameterSlice& slice,
                            std::int64_t begin, std::span<float> out) const {
  const auto shape = shapes_.find(parameter);
  require(shape != shapes_.end(), "{}: there is no parameter {}", folder_.string(), parameter);
  const SliceMap map(shape->second, slice);
  const std::int64_t end = begin + std::ssize(out);
  require(begin >= 0 && end <= map.numel(), "{}: elements {} to {} of {} are asked for, expected some of {}",
          folder_.string(), begin, end, parameter, map.numel());
  std::int64_t num_read = 0;
  const auto found = segments_.find({parameter, state});
  if (found != segments_.end()) {
    for (const StoredSegment& stored : found->second) {
      Tensor segment;
      for_each_common_run({map, begin, end}, stored.range, [&](std::int64_t to, std::int64_t from, std::int64_t numel) {
        if (!segment) segment = read_segment(stored);
        std::ranges::copy(segment.span<float>().subspan(from - stored.range.begin, numel), out.begin() + (to - begin));
        num_read += numel;
      });
    }
  }
  require(num_read == std::ssize(out), "{}: holds {} of elements {} to {} of {} of {}", folder_.string(), num_read,
          begin, end, state, parameter);
}

void CheckpointReader::check_files() const {
  for (const CheckpointFile& file : manifest_.files()) open(file);
}

void CheckpointReader::check_elements() const {
  for (const auto& [tensor, segments] : segments_) {
    for (const StoredSegment& stored : segments) read_segment(stored);
  }
}

std::vector<std::string> CheckpointReader::find_damage(const std::function<void(std::int64_t)>& progress) const {
  std::vector<std::string> damage;
  std::set<std::string> unreadable;
  for (const CheckpointFile& file : manifest_.files()) {
    try {
      open(file);
    } catch (const Error& error) {
      damage.emplace_back(error.what());
      unreadable.insert(file.name());
    }
  }
  for (const auto& [tensor, segments] : segments_) {
    for (const StoredSegment& stored : segments) {
      try {
        if (!unreadable.contains(stored.file->name())) read_segment(stored);
      } catch (const Error& error) {
        damage.emplace_back(error.what());
      }
      if (progress) progress(stored.segment->numel() * size_of(DType::kFloat32));
    }
  }
  return damage;
}

const SafetensorsFile& CheckpointReader::open(const CheckpointFile& file) const {
  const auto found = files_.find(file.name());
  if (found != files_.end()) return *found->second;
  auto opened = std::make_unique<SafetensorsFile>(folder_ / file.name());
  require(opened->num_bytes() == file.num_bytes(), "{}: has {} bytes, expected {} by the manifest",
          opened->path().string(), opened->num_bytes(), file.num_bytes());
  return *(files_[file.name()] = std::move(opened));
}

// All of it, as it was written.
Tensor CheckpointReader::read_segment(const StoredSegment& stored) const {
  const CheckpointSegment& segment = *stored.segment;
  const SafetensorsFile& file = open(*stored.file);
  const SafetensorsFile::Entry& entry = file.find(segment.key());
  require(entry.dtype == DType::kFloat32 && entry.shape.numel() == segment.numel(),
          "{}: {} is {}{}, expected float32 and {} elements by the manifest", file.path().string(), segment.key(),
          name_of(entry.dtype), entry.shape.to_string(), segment.numel());
  Tensor tensor = file.read(segment.key());
  const std::string checksum = xxh64_of(std::as_bytes(tensor.span<float>()));
  require(checksum == segment.xxh64(), "{} is damaged: {} has checksum {}, expected {}", file.path().string(),
          segment.key(), checksum, segment.xxh64());
  return tensor;
}

}  // namespace mudelta
