#include "launch/config/presets.h"

#include <algorithm>
#include <sstream>
#include <system_error>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/config/name_hints.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".textproto";

// The first sentence of the comment that `text` begins with.
std::string first_sentence(const std::string& text) {
  std::istringstream lines(text);
  std::string sentence;
  for (std::string line; std::getline(lines, line) && line.starts_with("# ") && !line.starts_with("#  ");) {
    sentence += line.substr(sentence.empty() ? 2 : 1);
    if (const std::size_t end = sentence.find(". "); end != std::string::npos) return sentence.substr(0, end);
  }
  if (sentence.ends_with('.') || sentence.ends_with(':')) sentence.pop_back();
  return sentence;
}

}  // namespace

fs::path preset_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return program.parent_path().parent_path() / "share/mudelta/configs";
}

std::vector<Preset> presets() {
  std::vector<Preset> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(preset_folder(), error)) {
    if (entry.path().extension() != kExtension) continue;
    found.push_back({entry.path().stem().string(), entry.path(), first_sentence(read_file(entry.path()))});
  }
  std::ranges::sort(found, {}, &Preset::name);
  return found;
}

fs::path find_config(const fs::path& name) {
  std::error_code error;
  if (fs::exists(name, error) || name.has_parent_path() || name.empty()) return name;
  std::vector<std::string> names;
  for (const Preset& preset : presets()) {
    if (preset.name == name || preset.file.filename() == name) return preset.file;
    names.push_back(preset.name);
  }
  if (name.has_extension()) return name;
  const std::string nearest = nearest_name(name.string(), names);
  fail("there is neither a file nor a preset called {}{} (see mudelta configs)", name.string(),
       nearest.empty() ? "" : "; did you mean `" + nearest + "`?");
}

}  // namespace mudelta
