#include "data/config_validation.h"

#include <cmath>
#include <filesystem>
#include <set>

#include "core/error.h"

namespace mudelta {

void validate(const DataConfig& config) {
  if (config.sources().empty()) {
    require(!config.path().empty(), "data.path is not given: expected a folder written by `mudelta prepare`");
    return;
  }
  require(config.path().empty(), "data.path is {} and there are data.sources: expected one of them", config.path());
  std::set<std::string> names;
  for (int i = 0; i < config.sources_size(); ++i) {
    const DataSource& source = config.sources(i);
    const std::string which = fmt::format("data.sources[{}]", i);
    require(!source.path().empty(), "{}.path is not given: expected a folder written by `mudelta prepare`", which);
    require(std::isfinite(source.weight()) && source.weight() > 0, "{}.weight is {}: expected more than 0", which,
            source.weight());
    require(source.epochs() >= 0, "{}.epochs is {}: expected 0 or more", which, source.epochs());
  }
  for (const DataSource& source : sources_of(config)) {
    require(!source.name().empty(), "data.sources: the name of {} is empty", source.path());
    require(names.insert(source.name()).second, "data.sources: two are called {}: give them a `name` each",
            source.name());
  }
}

std::vector<DataSource> sources_of(const DataConfig& config) {
  std::vector<DataSource> sources(config.sources().begin(), config.sources().end());
  for (DataSource& source : sources) {
    if (source.has_name()) continue;
    const std::filesystem::path path = source.path();
    source.set_name((path.has_filename() ? path : path.parent_path()).filename().string());
  }
  if (sources.empty()) sources.emplace_back().set_path(config.path());
  return sources;
}

}  // namespace mudelta
