#pragma once

#include <filesystem>
#include <string>
#include <vector>

// Configurations that come with the program: the files of share/mudelta/configs beside the folder of the program.

namespace mudelta {

struct Preset {
  std::string name;  // "quickstart" of quickstart.textproto
  std::filesystem::path file;
  std::string summary;  // how its first comment begins
};

std::filesystem::path preset_folder();
// In the order of their names; none where there is no such folder.
std::vector<Preset> presets();

// The file that a command line means by `name`: that file if there is one, else the preset of that name. Throws Error,
// with the nearest name, for a plain name that is neither; what looks like a path is left to whoever opens it.
std::filesystem::path find_config(const std::filesystem::path& name);

}  // namespace mudelta
