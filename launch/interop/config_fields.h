#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace mudelta {

// The fields of a config.json. One that is null counts as absent. Every function throws Error, naming the file, the
// field and its value, where that is not what was asked for.
class ConfigFields {
 public:
  explicit ConfigFields(const std::filesystem::path& file);

  const std::string& file() const { return file_; }
  // Null if it is absent.
  const nlohmann::json& value(std::string_view name) const;

  std::int64_t integer(std::string_view name, std::optional<std::int64_t> otherwise = {}) const;
  double number(std::string_view name, std::optional<double> otherwise = {}) const;
  bool flag(std::string_view name, bool otherwise) const;
  std::string text(std::string_view name, std::optional<std::string> otherwise = {}) const;

  // `why`: what the model would be otherwise.
  void require_flag(std::string_view name, bool expected, std::string_view why) const;
  void require_absent(std::string_view name, std::string_view why) const;
  // One of `expected`, the first of which stands for an absent field.
  void require_text(std::string_view name, std::initializer_list<std::string_view> expected) const;

 private:
  std::string file_;
  nlohmann::json fields_;
};

}  // namespace mudelta
