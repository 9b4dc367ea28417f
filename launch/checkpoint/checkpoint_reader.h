#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/parameter_slice.h"
#include "core/shape.h"
#include "launch/checkpoint/manifest.pb.h"
#include "launch/checkpoint/safetensors.h"

namespace mudelta {

// A complete checkpoint on the disk: its manifest, and its tensors by element.
class CheckpointReader {
 public:
  // `folder`: a checkpoint (.../step-00001000). Throws Error if the manifest is missing, damaged or of another format
  // version, if its segments do not cover every state tensor of every parameter exactly once, or if the folder has the
  // name of another step.
  explicit CheckpointReader(std::filesystem::path folder);

  const std::filesystem::path& folder() const { return folder_; }
  const CheckpointManifest& manifest() const { return manifest_; }

  // Throws Error, naming the file, unless every file is there, well formed, and as long as the manifest says.
  void check_files() const;
  // The same, and unless all that they hold is what was written: reads every byte.
  void check_elements() const;
  // All that is wrong with the files, a message each that names the file; reads every byte. `progress` is told how many
  // bytes have been read since it was told last.
  std::vector<std::string> find_damage(const std::function<void(std::int64_t)>& progress = {}) const;

  // `out` = elements [begin, begin + out.size()) of `slice`, flattened, of a state tensor of a parameter ("weight",
  // "exp_avg", ...), however the parameter was sliced when it was written. Every stored segment that is touched is read
  // whole and its checksum verified. Throws Error, naming the file, if it is missing or damaged; `out` is then
  // undefined. Throws Error, too, if there are no such elements.
  void read(const std::string& parameter, const std::string& state, const ParameterSlice& slice, std::int64_t begin,
            std::span<float> out) const;

 private:
  struct StoredSegment {
    const CheckpointFile* file;
    const CheckpointSegment* segment;
    SliceRange range;
  };

  const SafetensorsFile& open(const CheckpointFile& file) const;
  Tensor read_segment(const StoredSegment& stored) const;

  std::filesystem::path folder_;
  CheckpointManifest manifest_;
  std::map<std::string, Shape> shapes_;                                                 // of whole parameters, by name
  std::map<std::pair<std::string, std::string>, std::vector<StoredSegment>> segments_;  // by parameter and state
  mutable std::map<std::string, std::unique_ptr<SafetensorsFile>> files_;               // opened when first needed
};

}  // namespace mudelta
